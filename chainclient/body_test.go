package chainclient

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	mdtypes "github.com/provenance-io/provenance/x/metadata/types"

	"github.com/affiliate-node/affiliate/agreement"
)

var (
	chainTime   = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	testTimeout = chainTime.Add(90*time.Second + 123456789)
)

func uid(name string) agreement.UUID {
	sum := sha256.Sum256([]byte(name))
	return agreement.UUID(sum[:16])
}

// sampleWrite is a new scope of three with two records.
func sampleWrite() Write {
	a, b, c := newSigner("a").Address(), newSigner("b").Address(), newSigner("c").Address()
	hash := agreement.Commitment([]byte("salt of thirty-two bytes, nearly"), []byte("content"))
	return Write{
		Scope: uid("scope"), Session: uid("session"), ScopeSpec: uid("scope spec"), NewScope: true,
		Owners:     []agreement.Party{{Address: a, Role: "OWNER"}},
		Parties:    []agreement.Party{{Address: a, Role: "ORIGINATOR"}, {Address: b, Role: "SERVICER"}, {Address: c}},
		DataAccess: []string{b}, ValueOwner: a,
		Contract: sha256.Sum256([]byte("contract")), ContractName: "io.example.Loan",
		Records: []RecordWrite{
			{Name: "terms", Method: "originate", Output: hash, Inputs: []agreement.NamedHash{{Name: "application", Hash: hash, Type: "Application"}}},
			{Name: "document", Method: "attach", Output: hash},
		},
		Signers: []string{a, b, c},
	}
}

func TestBodyRoundTrip(t *testing.T) {
	c := testClient(t, newSigner("b"), nil)
	w := sampleWrite()
	existing := w
	existing.NewScope, existing.AddedDataAccess = false, []string{w.Signers[2]}
	plain := existing
	plain.AddedDataAccess = nil
	for name, tc := range map[string]struct {
		w    Write
		urls string
	}{
		"new scope":   {w, "MsgWriteScopeRequest MsgWriteSessionRequest MsgWriteRecordRequest MsgWriteRecordRequest"},
		"data access": {existing, "MsgAddScopeDataAccessRequest MsgWriteSessionRequest MsgWriteRecordRequest MsgWriteRecordRequest"},
		"old scope":   {plain, "MsgWriteSessionRequest MsgWriteRecordRequest MsgWriteRecordRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := c.BuildBody(tc.w, testTimeout)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.CheckBody(body, tc.w, chainTime)
			if err != nil || !got.Equal(testTimeout) {
				t.Fatalf("timeout %v, error %v", got, err)
			}
			var b txtypes.TxBody
			if err := b.Unmarshal(body); err != nil {
				t.Fatal(err)
			}
			var urls []string
			for _, m := range b.Messages {
				urls = append(urls, strings.TrimPrefix(m.TypeUrl, "/provenance.metadata.v1."))
			}
			if s := strings.Join(urls, " "); s != tc.urls {
				t.Errorf("messages %s", s)
			}
			commits := decodeTx(mustTx(t, body), txResult{})
			if len(commits) != 1 || commits[0].Agreement != tc.w.Session || commits[0].Scope != tc.w.Scope ||
				commits[0].Body != sha256.Sum256(body) || commits[0].Records["terms"] != tc.w.Records[0].Output || len(commits[0].Records) != 2 {
				t.Errorf("decoded %+v", commits)
			}
		})
	}
}

func mustTx(t testing.TB, body []byte) []byte {
	t.Helper()
	raw, err := (&txtypes.TxRaw{BodyBytes: body}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestCheckBodyNamesTheDifference changes one thing at a time; each must be
// refused with a text that names it.
func TestCheckBodyNamesTheDifference(t *testing.T) {
	c := testClient(t, newSigner("b"), nil)
	other := newSigner("other").Address()
	option := &codectypes.Any{TypeUrl: "/x.Y"}
	for name, tc := range map[string]struct {
		write func(*Write)
		body  func(*txtypes.TxBody)
		says  string
	}{
		"output":          {write: func(w *Write) { w.Records[1].Output = "b3RoZXI=" }, says: "message 4: MsgWriteRecordRequest.Record.Outputs[0].Hash"},
		"input":           {write: func(w *Write) { w.Records[0].Inputs[0].Hash = "b3RoZXI=" }, says: "Record.Inputs[0].Source.Hash"},
		"method":          {write: func(w *Write) { w.Records[0].Method = "x" }, says: "Process.Method"},
		"contract":        {write: func(w *Write) { w.Contract[0] ^= 1 }, says: "Session.SpecificationId"},
		"value owner":     {write: func(w *Write) { w.ValueOwner = other }, says: "Scope.ValueOwnerAddress"},
		"owner":           {write: func(w *Write) { w.Owners[0].Address = other }, says: "Scope.Owners[0].Address"},
		"role":            {write: func(w *Write) { w.Parties[1].Role = "INVESTOR" }, says: "Session.Parties[1].Role"},
		"data access":     {write: func(w *Write) { w.DataAccess = nil }, says: "Scope.DataAccess has 1 entries, not 0"},
		"signers":         {write: func(w *Write) { w.Signers = w.Signers[:2] }, says: "Signers has 3 entries, not 2"},
		"scope":           {write: func(w *Write) { w.Scope[3] ^= 1 }, says: "Scope.ScopeId"},
		"no scope":        {write: func(w *Write) { w.NewScope = false }, says: `not a /provenance.metadata.v1.MsgWriteSessionRequest`},
		"record too many": {write: func(w *Write) { w.Records = w.Records[:1] }, says: "it has 4 messages, not 3"},
		"record missing":  {write: func(w *Write) { w.Records = append(w.Records, RecordWrite{Name: "x", Method: "m", Output: "o"}) }, says: "it has 4 messages, not 5"},
		"memo":            {body: func(b *txtypes.TxBody) { b.Memo = "hello" }, says: "memo"},
		"height":          {body: func(b *txtypes.TxBody) { b.TimeoutHeight = 9 }, says: "timeout height"},
		"ordered":         {body: func(b *txtypes.TxBody) { b.Unordered = false }, says: "not unordered"},
		"no timeout":      {body: func(b *txtypes.TxBody) { b.TimeoutTimestamp = nil }, says: "no timeout"},
		"extension":       {body: func(b *txtypes.TxBody) { b.ExtensionOptions = append(b.ExtensionOptions, option) }, says: "extension options"},
		"other extension": {body: func(b *txtypes.TxBody) { b.NonCriticalExtensionOptions = append(b.NonCriticalExtensionOptions, option) }, says: "extension options"},
		"foreign message": {body: func(b *txtypes.TxBody) {
			b.Messages = append(b.Messages, &codectypes.Any{TypeUrl: "/cosmos.bank.v1beta1.MsgSend"})
		}, says: "MsgSend"},
		"field in message": {body: func(b *txtypes.TxBody) { b.Messages[1].Value = append(b.Messages[1].Value, 0xf8, 0x7f, 1) }, says: "unknown fields"},
	} {
		t.Run(name, func(t *testing.T) {
			w := sampleWrite()
			body, err := c.BuildBody(w, testTimeout)
			if err != nil {
				t.Fatal(err)
			}
			if tc.body != nil {
				var b txtypes.TxBody
				if err := b.Unmarshal(body); err != nil {
					t.Fatal(err)
				}
				tc.body(&b)
				if body, err = b.Marshal(); err != nil {
					t.Fatal(err)
				}
			} else {
				tc.write(&w)
			}
			_, err = c.CheckBody(body, w, chainTime)
			wantCode(t, err, agreement.CodeBodyMismatch)
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%q does not say %q", err, tc.says)
			}
		})
	}
}

func TestCheckBodyEncodingAndTime(t *testing.T) {
	c := testClient(t, newSigner("b"), nil)
	w := sampleWrite()
	body, err := c.BuildBody(w, testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"unknown field":   append(append([]byte{}, body...), 0xf8, 0x7f, 1),
		"unordered twice": append(append([]byte{}, body...), 0x20, 1),
		"too large":       make([]byte, MaxBody+1),
		"garbage":         []byte("\xff\xff\xff\xff not a body"),
		"cut short":       body[:len(body)-3],
		"empty":           {},
	} {
		_, err := c.CheckBody(b, w, chainTime)
		if agreement.CodeOf(err) != agreement.CodeBodyMismatch {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.CheckBody(body, w, testTimeout); err != nil {
		t.Errorf("at its timeout: %v", err)
	}
	expired, err := c.CheckBody(body, w, testTimeout.Add(1))
	wantCode(t, err, agreement.CodeExpired)
	if !expired.Equal(testTimeout) {
		t.Errorf("the timeout that has passed is %v, not %v", expired, testTimeout)
	}
	if _, err := c.CheckBody(body, w, testTimeout.Add(-MaxCosignLifetime)); err != nil {
		t.Errorf("5 minutes before: %v", err)
	}
	_, err = c.CheckBody(body, w, testTimeout.Add(-MaxCosignLifetime-1))
	wantCode(t, err, agreement.CodeBodyMismatch)
}

func TestBuildBodyRefuses(t *testing.T) {
	c := testClient(t, newSigner("b"), nil)
	for name, change := range map[string]func(*Write){
		"no signer":        func(w *Write) { w.Signers = nil },
		"signer twice":     func(w *Write) { w.Signers[1] = w.Signers[0] },
		"other network":    func(w *Write) { w.Signers[1] = "pb1g4z8k7hm6hj5fa7s780slnxjvq2dnpgpmyepz9" },
		"metadata address": func(w *Write) { w.Signers[1] = ScopeAddress(w.Scope) },
		"upper case":       func(w *Write) { w.Signers[1] = strings.ToUpper(w.Signers[1]) },
		"no record":        func(w *Write) { w.Records = nil },
		"blank record":     func(w *Write) { w.Records[0].Name = " " },
		"same record":      func(w *Write) { w.Records[0].Name = "Document " },
		"no output":        func(w *Write) { w.Records[0].Output = "" },
		"no input type":    func(w *Write) { w.Records[0].Inputs[0].Type = "" },
		"no role":          func(w *Write) { w.Parties = w.Parties[2:] },
		"unknown role":     func(w *Write) { w.Parties[0].Role = "EMPEROR" },
		"unspecified role": func(w *Write) { w.Parties[0].Role = "UNSPECIFIED" },
		"owner's role":     func(w *Write) { w.Owners[0].Role = "" },
		"no owner":         func(w *Write) { w.Owners = nil },
		"no spec":          func(w *Write) { w.ScopeSpec = agreement.UUID{} },
		"no scope":         func(w *Write) { w.Scope = agreement.UUID{} },
		"no name":          func(w *Write) { w.ContractName = "" },
	} {
		w := sampleWrite()
		change(&w)
		if _, err := c.BuildBody(w, testTimeout); agreement.CodeOf(err) != agreement.CodeBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := sampleWrite()
	w.ContractName = strings.Repeat("x", MaxBody)
	_, err := c.BuildBody(w, testTimeout)
	wantCode(t, err, agreement.CodeTooLarge)
}

func TestDecodeSessionByComponents(t *testing.T) {
	w := sampleWrite()
	m := &mdtypes.MsgWriteSessionRequest{SessionIdComponents: &mdtypes.SessionIdComponents{
		ScopeIdentifier: &mdtypes.SessionIdComponents_ScopeUuid{ScopeUuid: w.Scope.String()}, SessionUuid: w.Session.String(),
	}}
	a, err := pack(m)
	if err != nil {
		t.Fatal(err)
	}
	body, err := (&txtypes.TxBody{Messages: []*codectypes.Any{a}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got := decodeTx(mustTx(t, body), txResult{code: 5, log: "first\nsecond"})
	if len(got) != 1 || got[0].Agreement != w.Session || got[0].Scope != w.Scope || got[0].Code != 5 || got[0].Log != "first" {
		t.Errorf("decoded %+v", got)
	}
}

func FuzzCheckBody(f *testing.F) {
	c := testClient(f, newSigner("b"), nil)
	w := sampleWrite()
	body, err := c.BuildBody(w, testTimeout)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add(append(append([]byte{}, body...), 0x20, 1))
	f.Add([]byte(loadVector(f).Body))
	f.Fuzz(func(t *testing.T, b []byte) {
		timeout, err := c.CheckBody(b, w, chainTime)
		if err != nil {
			return
		}
		again, err := c.BuildBody(w, timeout)
		if err != nil || string(again) != string(b) {
			t.Fatalf("accepted a body that it doesn't build: %x (%v)", b, err)
		}
	})
}

func FuzzDecodeTx(f *testing.F) {
	v := loadVector(f)
	f.Add([]byte(v.Tx))
	f.Add(mustTx(f, v.Body))
	f.Add([]byte{0x0a, 0x02, 0x0a, 0x00})
	f.Fuzz(func(t *testing.T, tx []byte) {
		b := decodeBlock(rawBlock{height: 1, txs: [][]byte{tx}, results: []txResult{{code: 1, log: string(tx)}}})
		for _, c := range b.Commits {
			if len(c.Log) > maxLog || c.TxHash != TxHash(tx) {
				t.Fatalf("bad commit %+v", c)
			}
		}
	})
}
