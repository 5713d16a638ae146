package exec

import (
	"os"
	"runtime"
	"testing"

	"github.com/affiliate-node/affiliate/agreement"
)

// A compiler that needs more memory than it may have ends by itself, and the
// module is refused.
func TestCompilerMemoryIsBounded(t *testing.T) {
	if os.Getenv("AFFILIATE_TEST_GLUTTON") != "" {
		defer limitMemory(64 << 20)()
		all := make([][]byte, 32)
		for i := range all {
			all[i] = make([]byte, 16<<20)
		}
		runtime.KeepAlive(all)
		return
	}
	e := engine(t, Config{CacheDir: t.TempDir(), Compiler: []string{"/usr/bin/env", "AFFILIATE_TEST_GLUTTON=1", os.Args[0], "-test.run=^TestCompilerMemoryIsBounded$"}})
	err := e.runCompiler(t.Context(), nil)
	wantCode(t, err, agreement.CodeBadModule, "compiling it ended")
}
