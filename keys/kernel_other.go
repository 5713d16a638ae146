//go:build !linux

package keys

import "github.com/affiliate-node/affiliate/agreement"

func noKernelKeyring() error {
	return agreement.Errorf(agreement.CodeBadRequest, "this system's kernel has no keyring").
		WithHint("use keys.unlock = \"passphrase\" or \"key_file\"")
}

// KernelSecret fails: only Linux keeps secrets in the kernel.
func KernelSecret(string) ([]byte, error) { return nil, noKernelKeyring() }

// SetKernelSecret fails: only Linux keeps secrets in the kernel.
func SetKernelSecret(string, []byte) error { return noKernelKeyring() }

// DropKernelSecret fails: only Linux keeps secrets in the kernel.
func DropKernelSecret(string) error { return noKernelKeyring() }
