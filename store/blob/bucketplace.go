package blob

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/affiliate-node/affiliate/agreement"
)

// place is what the address of a bucket says.
type place struct {
	bucket   string
	prefix   string // empty, or ends with a slash
	endpoint string // host and port
	secure   bool
	region   string
}

const amazon = "s3.amazonaws.com"

// parsePlace reads s3://BUCKET[/PREFIX][?endpoint=URL][&region=NAME]. It never
// repeats what might be a secret.
func parsePlace(address string) (place, error) {
	u, err := url.Parse(address)
	if err != nil { // the error quotes the address
		return place{}, badPlace("it isn't a URL")
	}
	query, err := url.ParseQuery(u.RawQuery)
	switch {
	case u.Scheme != "s3":
		return place{}, badPlace("its scheme isn't s3")
	case u.User != nil:
		return place{}, badPlace("it has credentials in it")
	case u.Host == "" || u.Fragment != "" || err != nil:
		return place{}, badPlace("it names no bucket, or has something besides the bucket, a prefix, endpoint and region")
	}
	for name, values := range query {
		if name != "endpoint" && name != "region" || len(values) != 1 {
			return place{}, badPlace("its parameters may be endpoint and region, each once, and not %q", name)
		}
	}
	p := place{bucket: u.Host, endpoint: amazon, secure: true, region: query.Get("region")}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		p.prefix = prefix + "/"
	}
	if strings.Contains("/"+p.prefix, "//") || strings.Contains("/"+p.prefix, "/./") || strings.Contains("/"+p.prefix, "/../") {
		return place{}, badPlace("its prefix has an empty part, or a dot for one")
	}
	if query.Has("endpoint") {
		if err := p.setEndpoint(query.Get("endpoint")); err != nil {
			return place{}, err
		}
	}
	return p, p.setRegion()
}

func (p *place) setEndpoint(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return badPlace("its endpoint isn't like https://s3.example.com or http://127.0.0.1:9000")
	}
	p.endpoint, p.secure = u.Host, u.Scheme == "https"
	return nil
}

// setRegion takes the region from the environment, where other programs have
// it, if the address doesn't name it.
func (p *place) setRegion() error {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if p.region == "" {
			p.region = os.Getenv(name)
		}
	}
	if p.region == "" && strings.HasSuffix(p.endpoint, ".amazonaws.com") {
		return badPlace("it names no region, and AWS_REGION isn't set")
	}
	if p.region == "" {
		p.region = "us-east-1" // what servers take that have no regions
	}
	return nil
}

func badPlace(format string, args ...any) error {
	return agreement.Errorf(agreement.CodeBadRequest, "the address of the bucket can't be used: %s", fmt.Sprintf(format, args...)).
		WithHint("write s3://BUCKET/PREFIX?endpoint=https://HOST&region=NAME; credentials come from the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
}

// String names the place in errors.
func (p place) String() string {
	return fmt.Sprintf("bucket %s at %s", p.bucket, p.endpoint)
}
