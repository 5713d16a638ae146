package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/client"
)

const (
	// maxInline is the largest input that travels inside the request, in
	// bytes; a larger one is streamed into the store first.
	maxInline = 1 << 20
	mediaJSON = "application/json"
	// mediaBytes is what an object has whose media type nobody knows.
	mediaBytes = "application/octet-stream"
)

// input is one --input of the command line: name=VALUE, name=@FILE or either
// with name:mediatype.
type input struct {
	name, media string
	value       []byte // of a literal
	file        string // "-" is standard input
}

func parseInput(s string) (input, error) {
	left, right, ok := strings.Cut(s, "=")
	in := input{name: left}
	if name, media, typed := strings.Cut(left, ":"); typed {
		in.name, in.media = name, media
	}
	if !ok || in.name == "" || right == "" || strings.HasSuffix(left, ":") {
		return in, fmt.Errorf("--input %q is not NAME=JSON, NAME=@FILE or NAME:MEDIATYPE=@FILE", s)
	}
	if file, isFile := strings.CutPrefix(right, "@"); isFile {
		in.file = file
		if file == "" {
			return in, fmt.Errorf("--input %q names no file after @", s)
		}
		return in, nil
	}
	in.value = []byte(right)
	if in.isJSON(true) {
		if err := validJSON(in.value); err != nil {
			return in, fmt.Errorf("--input %s: %w; for the content of a file write %s=@FILE", in.name, err, in.name)
		}
	}
	return in, nil
}

// isJSON says whether the value has to be JSON; fallback is the answer where
// nothing is said.
func (in input) isJSON(fallback bool) bool {
	if in.media == "" {
		return fallback
	}
	media, _, _ := strings.Cut(in.media, ";")
	return strings.TrimSpace(media) == mediaJSON
}

// load makes the request's input. Large files go into the store and are named
// by their hash.
func (a *app) load(ctx context.Context, c *client.Client, in input) (*affiliatev1.ProposedInput, error) {
	out := &affiliatev1.ProposedInput{Name: in.name, MediaType: in.media}
	if in.file == "" {
		out.Source = &affiliatev1.ProposedInput_Content{Content: in.value}
		return out, nil
	}
	f, err := a.open(in.file)
	if err != nil {
		return nil, fmt.Errorf("reading the input %s: %w", in.name, err)
	}
	defer f.Close() //nolint:errcheck // only read
	head, err := io.ReadAll(io.LimitReader(f, maxInline+1))
	if err != nil {
		return nil, fmt.Errorf("reading the input %s: %w", in.name, err)
	}
	isJSON := in.isJSON(strings.HasSuffix(strings.ToLower(in.file), ".json"))
	if len(head) <= maxInline {
		if isJSON {
			if err := validJSON(head); err != nil {
				return nil, agreement.Errorf(agreement.CodeBadJSON, "the input %s: %s: %w", in.name, in.file, err).
					WithHint("correct the file, or give its media type: --input %s:MEDIATYPE=@%s", in.name, in.file)
			}
		}
		out.Source = &affiliatev1.ProposedInput_Content{Content: head}
		return out, nil
	}
	media := in.media
	if media == "" {
		media = mediaOf(in.file)
	}
	res, err := c.PutObject(ctx, media, io.MultiReader(bytes.NewReader(head), f))
	if err != nil {
		return nil, fmt.Errorf("storing the input %s: %w", in.name, err)
	}
	out.Source = &affiliatev1.ProposedInput_ContentHash{ContentHash: res.GetContentHash()}
	return out, nil
}

// validJSON says where a document stops being JSON.
func validJSON(doc []byte) error {
	var v json.RawMessage
	err := json.Unmarshal(doc, &v)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	before := doc[:max(min(int(syntax.Offset), len(doc))-1, 0)] // the offset is behind the byte that is wrong
	line := bytes.Count(before, []byte("\n")) + 1
	return fmt.Errorf("not valid JSON at line %d, column %d: %w", line, len(before)-bytes.LastIndexByte(before, '\n'), syntax)
}

// mediaOf guesses a media type from a file's name. The table is our own, so
// that every machine gives the same answer.
func mediaOf(file string) string {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".json":
		return mediaJSON
	case ".pdf":
		return "application/pdf"
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".txt":
		return "text/plain"
	case ".csv":
		return "text/csv"
	case ".xml":
		return "application/xml"
	case ".wasm":
		return "application/wasm"
	}
	return mediaBytes
}

// open opens a file, or standard input for "-".
func (a *app) open(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.stdin), nil
	}
	f, err := os.Open(path) //nolint:gosec // the user's own choice
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close() //nolint:errcheck,gosec // only read
		return nil, fmt.Errorf("%s is a directory", path)
	}
	return f, nil
}

// readFile reads a whole file of at most limit bytes.
func (a *app) readFile(path string, limit int64) ([]byte, error) {
	f, err := a.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = agreement.Errorf(agreement.CodeTooLarge, "%s is larger than %s", path, size(limit))
	}
	return b, err
}
