package devchain

import (
	"fmt"
	"log/slog"
	"strings"

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

// cometLog is the same for CometBFT. It also tells when consensus has stopped,
// which CometBFT only logs.
type cometLog struct {
	log    *slog.Logger
	halted func(cause string)
}

var _ cmtlog.Logger = cometLog{}

func (l cometLog) Debug(string, ...any)         {} // formats whole blocks; of no use here
func (l cometLog) Info(msg string, kv ...any)   { l.log.Debug(msg, kv...) }
func (l cometLog) With(kv ...any) cmtlog.Logger { return cometLog{l.log.With(kv...), l.halted} }

func (l cometLog) Error(msg string, kv ...any) {
	if strings.HasPrefix(msg, "CONSENSUS FAILURE") {
		l.halted(cause(kv))
		return
	}
	l.log.Warn(msg, kv...)
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
