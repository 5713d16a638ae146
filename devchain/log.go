package devchain

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"cosmossdk.io/log"
	cmtlog "github.com/cometbft/cometbft/libs/log"
)

// sdkLog lets the SDK write to slog. What it calls info is debug here: the
// SDK and CometBFT write a dozen such lines a block.
type sdkLog struct{ log *slog.Logger }

var _ log.Logger = sdkLog{}

func (l sdkLog) Debug(msg string, kv ...any) { l.log.Debug(msg, kv...) }
func (l sdkLog) Info(msg string, kv ...any)  { l.log.Debug(msg, kv...) }
func (l sdkLog) Warn(msg string, kv ...any)  { l.log.Warn(msg, kv...) }
func (l sdkLog) Error(msg string, kv ...any) { l.log.Error(msg, kv...) }
func (l sdkLog) With(kv ...any) log.Logger   { return sdkLog{l.log.With(kv...)} }
func (l sdkLog) Impl() any                   { return l.log }

// watch is what a node learns from CometBFT's log lines, and what it adds to them.
type watch struct {
	halted   chan string // gets the cause when consensus stops by itself, which CometBFT only logs
	stopping atomic.Bool // from then on, complaints about closed connections are expected
}

// cometLog is the same as sdkLog for CometBFT, whose errors are mostly a
// peer's doing and so warnings here.
type cometLog struct {
	log   *slog.Logger
	watch *watch
}

var _ cmtlog.Logger = cometLog{}

func (l cometLog) Debug(string, ...any)         {} // formats whole blocks; of no use here
func (l cometLog) Info(msg string, kv ...any)   { l.log.Debug(msg, kv...) }
func (l cometLog) With(kv ...any) cmtlog.Logger { return cometLog{l.log.With(kv...), l.watch} }

func (l cometLog) Error(msg string, kv ...any) {
	switch {
	case strings.HasPrefix(msg, "CONSENSUS FAILURE"):
		select {
		case l.watch.halted <- cause(kv):
		default: // the first cause counts
		}
	case l.watch.stopping.Load():
		l.log.Debug(msg, kv...)
	default:
		l.log.Warn(msg, kv...)
	}
}

// cause finds the error among a log line's values.
func cause(kv []any) string {
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i] == "err" {
			return fmt.Sprint(kv[i+1])
		}
	}
	return "no cause given"
}
