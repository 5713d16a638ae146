package keys

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/affiliate-node/affiliate/agreement"
)

// maxKernelSecret bounds a secret in the kernel's keyring, in bytes.
const maxKernelSecret = 4 << 10

// KernelSecret returns a secret that the kernel keeps for this user, in the
// user keyring, under a name. CodeNotFound when there is none: nobody has put
// it there since the machine started.
func KernelSecret(name string) ([]byte, error) {
	var secret []byte
	err := withUserKeyring(func() error {
		id, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", name, 0)
		if err != nil {
			return err
		}
		secret = make([]byte, maxKernelSecret)
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, secret, 0)
		if err == nil && n > maxKernelSecret {
			err = unix.EMSGSIZE
		}
		if err == nil {
			secret = secret[:n]
		}
		return err
	})
	if errors.Is(err, unix.ENOKEY) || errors.Is(err, unix.EKEYEXPIRED) || errors.Is(err, unix.EKEYREVOKED) {
		return nil, agreement.Errorf(agreement.CodeNotFound, "the kernel's keyring holds no %q", name)
	}
	if err != nil {
		return nil, kernelError("reading", err)
	}
	return secret, nil
}

// SetKernelSecret gives the kernel a secret to keep for this user until the
// machine stops, in place of the one that it has under the name.
func SetKernelSecret(name string, secret []byte) error {
	err := withUserKeyring(func() error {
		_, err := unix.AddKey("user", name, secret, unix.KEY_SPEC_USER_KEYRING)
		return err
	})
	if err != nil {
		return kernelError("writing", err)
	}
	return nil
}

// DropKernelSecret makes the kernel forget a secret; none is fine.
func DropKernelSecret(name string) error {
	err := withUserKeyring(func() error {
		id, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", name, 0)
		if err != nil {
			return err
		}
		_, err = unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0)
		return err
	})
	if err != nil && !errors.Is(err, unix.ENOKEY) {
		return kernelError("writing", err)
	}
	return nil
}

// withUserKeyring runs f while this thread possesses the user keyring: a
// service isn't linked to it by itself, and without that may not read it.
func withUserKeyring(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_THREAD_KEYRING, 0, 0); err != nil {
		return err
	}
	err := f()
	_, unlinked := unix.KeyctlInt(unix.KEYCTL_UNLINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_THREAD_KEYRING, 0, 0)
	return errors.Join(err, unlinked)
}

func kernelError(doing string, err error) error {
	return agreement.Errorf(agreement.CodeBadRequest, "%s the kernel's keyring: %w", doing, err).
		WithHint("containers often forbid it; use keys.unlock = \"passphrase\" or \"key_file\" there")
}
