package blob

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/affiliate-node/affiliate/agreement"
)

// How long one attempt may take, and how many there are.
const (
	attempts        = 4
	firstPause      = 300 * time.Millisecond // doubles; half of it is random
	shortCall       = 30 * time.Second       // a call without a payload
	partCall        = 5 * time.Minute        // a part of up to 8 MiB: 28 KiB/s
	copyCall        = time.Hour              // a copy within the bucket
	silence         = time.Minute            // without a byte of an answer
	abortCall       = 10 * time.Second       // to clean up after a failure
	credentialsCall = 10 * time.Second       // to ask for credentials where the machine gives them
)

var errSilence = errors.New("no answer in time")

// try makes a call, again if it fails for reasons that may pass.
func (b *bucket) try(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := once(ctx, limit, call)
		if err == nil || attempt == attempts || !mayPass(ctx, err) {
			return err
		}
		if err := b.wait(ctx, attempt); err != nil {
			return err
		}
	}
}

func once(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, limit, errSilence)
	defer cancel()
	err := call(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w (%s)", errSilence, limit)
	}
	return err
}

// lent is the body of one attempt. The HTTP transport may go on reading it
// after the attempt has failed; then it gets nothing any more, and the bytes
// can be changed.
type lent struct {
	mu   sync.Mutex
	b    []byte // guarded by mu: what is left
	back bool   // guarded by mu
}

var errTakenBack = errors.New("the attempt has ended")

// Read gives the next bytes.
func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back {
		return 0, errTakenBack
	}
	if len(l.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.b)
	l.b = l.b[n:]
	return n, nil
}

func (l *lent) takeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b, l.back = nil, true
}

// wait waits before the attempt that follows.
func (b *bucket) wait(ctx context.Context, attempt int) error {
	pause := b.pause << (attempt - 1)
	t := time.NewTimer(pause/2 + rand.N(pause/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mayPass reports whether a failed call may work a moment later.
func mayPass(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	var answer minio.ErrorResponse
	if errors.As(err, &answer) {
		passing := []int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}
		codes := []string{"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "Throttling", "OperationAborted"}
		return slices.Contains(passing, answer.StatusCode) || slices.Contains(codes, answer.Code)
	}
	var unknown x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	return !errors.As(err, &unknown) && !errors.As(err, &wrongName) && !errors.Is(err, http.ErrSchemeMismatch)
}

// code returns the server's name for what went wrong, empty if it gave none.
func code(err error) string {
	var answer minio.ErrorResponse
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

func isAbsent(err error) bool { return code(err) == "NoSuchKey" || code(err) == "NotFound" }

// failed says what the server's answer means for the operator. No error of
// the client has a secret in it.
func (b *bucket) failed(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var known *agreement.Error
	if errors.As(err, &known) {
		return err
	}
	e := agreement.Errorf(agreement.CodeStore, "%s in %s: %w", doing, b.place, err)
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return e.WithHint("is the endpoint right, and does it answer from this machine? The work goes on when it does")
	}
	switch answer.Code {
	case "NoSuchBucket":
		return e.WithHint("make the bucket first; a node never makes one")
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthorizationHeaderMalformed", "RequestTimeTooSkewed":
		return e.WithHint("look at the credentials in the node's environment, the region, and this machine's clock")
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded":
		answer.StatusCode = http.StatusInsufficientStorage
	}
	switch answer.StatusCode {
	case http.StatusInsufficientStorage:
		e.Code = agreement.CodeDiskFull
		return e.WithHint("raise the quota of the bucket, or remove what isn't needed; `affiliate store stats` says what takes the space")
	case http.StatusUnauthorized, http.StatusForbidden:
		return e.WithHint("the credentials in the node's environment must be right, and allow to list, read, write and delete below the prefix, multipart uploads included, and to read the bucket's versioning")
	}
	return e.WithHint("the server's own log may say more")
}
