package exec

import (
	"context"
	"log/slog"

	"github.com/affiliate-node/affiliate/agreement"
)

// Engine loads and runs contracts.
type Engine struct{ cfg Config }

// New makes an engine.
func New(cfg Config, log *slog.Logger) (*Engine, error) { return &Engine{cfg: cfg}, nil }

// Close releases the engine's memory.
func (e *Engine) Close(ctx context.Context) error { return nil }

// Version names the engine, for divergence reports.
func (e *Engine) Version() string { return "wazero v1.12.0" }

// Load admits and compiles a module.
func (e *Engine) Load(ctx context.Context, module []byte) (*Contract, error) {
	return nil, agreement.Errorf(agreement.CodeBadModule, "not built yet")
}

// Execute runs every function in order.
func (e *Engine) Execute(ctx context.Context, c *Contract, r Run) ([]Output, error) {
	return nil, agreement.Errorf(agreement.CodeExecution, "not built yet")
}
