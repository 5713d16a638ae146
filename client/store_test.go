package client

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// BackupStore sends what since says: 0 a whole backup, 1 one without its end,
// 2 one whose size is wrong, and others an error in the middle.
func (f *fakeNode) BackupStore(_ context.Context, r *connect.Request[affiliatev1.BackupStoreRequest], s *connect.ServerStream[affiliatev1.BackupStoreResponse]) error {
	for _, part := range []string{"one ", "two"} {
		if err := s.Send(&affiliatev1.BackupStoreResponse{Data: []byte(part)}); err != nil {
			return err
		}
	}
	switch r.Msg.GetSince() {
	case 0:
		return s.Send(&affiliatev1.BackupStoreResponse{Summary: &affiliatev1.BackupSummary{Size: 7, Upto: 3}})
	case 1:
		return nil
	case 2:
		return s.Send(&affiliatev1.BackupStoreResponse{Summary: &affiliatev1.BackupSummary{Size: 8}})
	}
	return connect.NewError(connect.CodeInternal, errors.New("broken"))
}

func TestBackupIsWholeOrAnError(t *testing.T) {
	t.Parallel()
	c := dialFake(t, newFake())
	var out bytes.Buffer
	sum, err := c.Backup(t.Context(), &affiliatev1.BackupStoreRequest{}, &out)
	if err != nil || out.String() != "one two" || sum.GetUpto() != 3 {
		t.Errorf("%q, %v, %v", out.String(), sum, err)
	}
	for since, code := range map[uint64]agreement.Code{1: agreement.CodeDamaged, 2: agreement.CodeDamaged, 3: agreement.CodeInternal} {
		if _, err := c.Backup(t.Context(), &affiliatev1.BackupStoreRequest{Since: since}, &out); agreement.CodeOf(err) != code {
			t.Errorf("since %d: %v", since, err)
		}
	}
	full := errors.New("the disk is full")
	if _, err := c.Backup(t.Context(), &affiliatev1.BackupStoreRequest{}, refusing{full}); !errors.Is(err, full) {
		t.Errorf("a disk that is full: %v", err)
	}
}

type refusing struct{ err error }

func (r refusing) Write([]byte) (int, error) { return 0, r.err }

// VerifyStore says what it found, unless it is asked to repair.
func (f *fakeNode) VerifyStore(_ context.Context, r *connect.Request[affiliatev1.VerifyStoreRequest], s *connect.ServerStream[affiliatev1.VerifyStoreResponse]) error {
	steps := []*affiliatev1.VerifyStoreResponse{
		{Step: &affiliatev1.VerifyStoreResponse_Progress{Progress: &affiliatev1.VerifyProgress{Objects: 1}}},
		{Step: &affiliatev1.VerifyStoreResponse_Finding{Finding: &affiliatev1.VerifyFinding{Problem: "x"}}},
		{Step: &affiliatev1.VerifyStoreResponse_Summary{Summary: &affiliatev1.VerifySummary{Objects: 2, Damaged: 1}}},
	}
	if r.Msg.GetRepair() {
		steps = steps[:2]
	}
	for _, m := range steps {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func TestVerify(t *testing.T) {
	t.Parallel()
	c := dialFake(t, newFake())
	var progress, findings int
	sum, err := c.Verify(t.Context(), false,
		func(*affiliatev1.VerifyProgress) { progress++ }, func(*affiliatev1.VerifyFinding) { findings++ })
	if err != nil || progress != 1 || findings != 1 || sum.GetObjects() != 2 || sum.GetDamaged() != 1 {
		t.Errorf("%d, %d, %v, %v", progress, findings, sum, err)
	}
	if _, err := c.Verify(t.Context(), true, nil, nil); agreement.CodeOf(err) != agreement.CodeInternal {
		t.Errorf("no summary came: %v", err)
	}
}
