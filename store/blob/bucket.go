package blob

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	chain "github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/affiliate-node/affiliate/agreement"
)

// Below the prefix of a bucket.
const (
	payloadsPrefix   = "payloads/"   // and the hash
	unfinishedPrefix = "unfinished/" // and a random name
	ownerKey         = "owner"
	delimiter        = "/"

	maxOwner  = 255              // bytes
	ownerText = "affiliate 1\n"  // before the owner
	pageSize  = 1000             // entries of a list in memory
	sweepAge  = 24 * time.Hour   // of what a sweep removes
	largeCopy = 5_000_000_000    // bytes; above, a server copies part by part
	idleLimit = 90 * time.Second // of a connection
	dialLimit = 10 * time.Second
)

// BucketOptions are what a bucket needs besides its address.
type BucketOptions struct {
	// Owner names who alone uses the prefix, such as the affiliate's address.
	// It is written there the first time; a prefix of another owner is
	// refused, because each would remove the other's payloads. It has 1 to
	// 255 bytes.
	Owner string
}

// bucket is the home in an S3-compatible bucket: PREFIX/payloads/HASH, and
// PREFIX/unfinished/… for what is being written.
type bucket struct {
	place     place
	core      minio.Core
	transport *http.Transport
	tally     tally
	pause     time.Duration // before the second attempt
	part      int           // bytes of a part
	silence   time.Duration // that ends a read
	old       time.Duration // what a sweep removes is older

	mu      sync.Mutex
	running map[string]bool // guarded by mu: keys below unfinished/
}

// Bucket returns the home at s3://BUCKET[/PREFIX][?endpoint=URL][&region=NAME].
// The endpoint is Amazon's if none is named. Credentials come from where every
// S3 program has them, in this order: AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN in the environment, the shared
// credentials file, and the role of the machine or container.
//
// It asks the server whether the bucket can be used: one that keeps old
// versions is refused, because a removed payload would still be there.
func Bucket(ctx context.Context, address string, o BucketOptions) (Home, error) {
	p, err := parsePlace(address)
	if err != nil {
		return nil, err
	}
	if len(o.Owner) == 0 || len(o.Owner) > maxOwner {
		return nil, agreement.Errorf(agreement.CodeBadRequest, "the owner of a bucket has 1 to %d bytes, not %d", maxOwner, len(o.Owner))
	}
	b := newBucket(p)
	if err := b.check(ctx, o.Owner); err != nil {
		b.transport.CloseIdleConnections()
		return nil, err
	}
	return b, nil
}

func newBucket(p place) *bucket {
	dialer := net.Dialer{Timeout: dialLimit}
	return &bucket{
		place: p, pause: firstPause, old: sweepAge, silence: silence, part: partSize, running: map[string]bool{},
		transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: dialLimit,
			MaxIdleConnsPerHost: 16, IdleConnTimeout: idleLimit, DisableCompression: true,
		},
	}
}

// check connects, and makes sure that the prefix can be used and is ours.
func (b *bucket) check(ctx context.Context, owner string) error {
	client, err := minio.New(b.place.endpoint, &minio.Options{
		Creds: chain.NewChainCredentials([]chain.Provider{
			&chain.EnvAWS{}, &chain.FileAWSCredentials{},
			&chain.IAM{Client: &http.Client{Transport: b.transport, Timeout: credentialsCall}},
		}),
		Secure: b.place.secure, Region: b.place.region, Transport: b.transport, MaxRetries: 1,
	})
	if err != nil {
		return badPlace("%v", err)
	}
	if v, err := client.GetCreds(); err != nil || v.SignerType.IsAnonymous() {
		return agreement.Errorf(agreement.CodeStore, "there are no credentials for %s", b.place).
			WithHint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the node's environment, or AWS_SHARED_CREDENTIALS_FILE and AWS_PROFILE, or give the machine a role")
	}
	b.core = minio.Core{Client: client}
	if err := b.refuseVersions(ctx); err != nil {
		return err
	}
	return b.claim(ctx, owner)
}

// refuseVersions refuses a bucket in which a removed payload stays.
func (b *bucket) refuseVersions(ctx context.Context) error {
	var v minio.BucketVersioningConfiguration
	err := b.try(ctx, shortCall, func(ctx context.Context) (err error) {
		v, err = b.core.GetBucketVersioning(ctx, b.place.bucket)
		return err
	})
	if code(err) == "NotImplemented" || code(err) == "MethodNotAllowed" {
		return nil // a server without versions
	}
	if err != nil {
		return b.failed(ctx, "asking for the versioning", err)
	}
	if v.Enabled() {
		return agreement.Errorf(agreement.CodeStore, "%s keeps old versions: a payload that is purged would still be in it", b.place).
			WithHint("use a bucket without versioning")
	}
	return nil
}

// claim writes the owner, if there is none, and compares it.
func (b *bucket) claim(ctx context.Context, owner string) error {
	found, err := b.owner(ctx)
	if err == nil && found == "" {
		if err = b.writeOwner(ctx, owner); err == nil {
			found, err = b.owner(ctx)
		}
	}
	if err != nil {
		return b.failed(ctx, "looking for the owner of the prefix", err)
	}
	if found != owner {
		return agreement.Errorf(agreement.CodeInUse, "the prefix %q in %s belongs to %q, not to %q", b.place.prefix, b.place, found, owner).
			WithHint("give every node a prefix of its own: s3://BUCKET/PREFIX")
	}
	return nil
}

// owner reads the owner, empty if there is none.
func (b *bucket) owner(ctx context.Context) (owner string, err error) {
	err = b.try(ctx, shortCall, func(ctx context.Context) error {
		r, _, _, err := b.core.GetObject(ctx, b.place.bucket, b.place.prefix+ownerKey, minio.GetObjectOptions{})
		if isAbsent(err) {
			owner = ""
			return nil
		}
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }() // only read
		text, err := io.ReadAll(io.LimitReader(r, maxOwner+int64(len(ownerText))+1))
		if err != nil {
			return err
		}
		owner = strings.TrimPrefix(string(text), ownerText)
		if owner == "" || owner == string(text) {
			return agreement.Errorf(agreement.CodeInUse, "%s has a strange file %q", b.place, b.place.prefix+ownerKey).
				WithHint("give the node a prefix that nothing else uses")
		}
		return nil
	})
	return owner, err
}

// writeOwner writes the owner unless somebody else does at the same moment.
func (b *bucket) writeOwner(ctx context.Context, owner string) error {
	var only minio.PutObjectOptions
	only.SetMatchETagExcept("*")
	err := b.putWhole(ctx, b.place.prefix+ownerKey, []byte(ownerText+owner), only)
	switch code(err) {
	case "PreconditionFailed", "ConditionalRequestConflict":
		return nil // the owner is compared next
	case "NotImplemented":
		return b.putWhole(ctx, b.place.prefix+ownerKey, []byte(ownerText+owner), minio.PutObjectOptions{})
	}
	return err
}

// putWhole writes a key in one call.
func (b *bucket) putWhole(ctx context.Context, key string, content []byte, o minio.PutObjectOptions) error {
	o.DisableContentSha256 = true // the header has it
	o.ContentType = "application/octet-stream"
	sum := sha256Hex(content)
	return b.try(ctx, partCall, func(ctx context.Context) error {
		body := lent{b: content}
		defer body.takeBack()
		_, err := b.core.PutObject(ctx, b.place.bucket, key, &body, int64(len(content)), "", sum, o)
		return err
	})
}

func (b *bucket) key(id agreement.Hash) string { return b.place.prefix + payloadsPrefix + id.String() }

// stat returns the size of a key, -1 if it isn't there.
func (b *bucket) stat(ctx context.Context, key string) (size int64, err error) {
	err = b.try(ctx, shortCall, func(ctx context.Context) error {
		info, err := b.core.StatObject(ctx, b.place.bucket, key, minio.StatObjectOptions{})
		size = info.Size
		return err
	})
	if isAbsent(err) {
		return -1, nil
	}
	return size, err
}

// remove removes a key; one that isn't there is not an error.
func (b *bucket) remove(ctx context.Context, key string) error {
	err := b.try(ctx, shortCall, func(ctx context.Context) error {
		return b.core.RemoveObject(ctx, b.place.bucket, key, minio.RemoveObjectOptions{})
	})
	if isAbsent(err) {
		return nil
	}
	return err
}

// Remove removes a payload.
func (b *bucket) Remove(ctx context.Context, id agreement.Hash) error {
	changed := b.tally.changing(id)
	size, err := b.stat(ctx, b.key(id))
	if err == nil && size >= 0 {
		err = b.remove(ctx, b.key(id))
	}
	if err != nil {
		changed(0)
		return b.failed(ctx, "removing the payload of object "+id.String(), err)
	}
	changed(-max(size, 0))
	return nil
}

// List asks for page after page.
func (b *bucket) List(ctx context.Context, fn func(agreement.Hash, int64, time.Time) error) error {
	prefix := b.place.prefix + payloadsPrefix
	return b.pages(ctx, prefix, func(o minio.ObjectInfo) error {
		if id, err := agreement.ParseHash(strings.TrimPrefix(o.Key, prefix)); err == nil && b.key(id) == o.Key {
			return fn(id, o.Size, o.LastModified)
		}
		return nil // not ours
	})
}

// pages calls fn for every key below a prefix, in their order.
func (b *bucket) pages(ctx context.Context, prefix string, fn func(minio.ObjectInfo) error) error {
	last := ""
	for {
		page, err := b.page(ctx, prefix, last)
		if err != nil {
			return b.failed(ctx, "listing payloads", err)
		}
		for _, o := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			if o.Key <= last {
				return b.failed(ctx, "listing payloads", fmt.Errorf("the list isn't in order: %q comes after %q", o.Key, last))
			}
			last = o.Key
			if err := fn(o); err != nil {
				return err
			}
		}
		if len(page) < pageSize {
			return nil
		}
	}
}

// page returns the first keys right below a prefix after a certain one; fewer
// than pageSize are the last.
func (b *bucket) page(ctx context.Context, prefix, after string) (page []minio.ObjectInfo, err error) {
	err = b.try(ctx, shortCall, func(ctx context.Context) error {
		page = page[:0]
		// Without a delimiter some servers split at every letter.
		o := minio.ListObjectsOptions{Prefix: prefix, MaxKeys: pageSize, StartAfter: after}
		for entry := range b.core.ListObjectsIter(ctx, b.place.bucket, o) {
			if entry.Err != nil {
				return entry.Err
			}
			if strings.HasSuffix(entry.Key, delimiter) {
				continue // not ours
			}
			if page = append(page, entry); len(page) == pageSize {
				break
			}
		}
		return ctx.Err() // ends a list without an error of its own
	})
	return page, err
}

// Usage adds up the list; how much more the bucket takes isn't known.
func (b *bucket) Usage(ctx context.Context) (Usage, error) {
	bytes, err := b.tally.total(func(add func(int64)) error {
		return b.List(ctx, func(_ agreement.Hash, size int64, _ time.Time) error { add(size); return nil })
	})
	if err != nil {
		return Usage{}, err
	}
	return Usage{Bytes: bytes, Free: -1}, nil
}

// Close closes idle connections.
func (b *bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}
