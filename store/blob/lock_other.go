//go:build !unix

package blob

import "os"

// lockFile does nothing here: the database's own lock has to do.
func lockFile(*os.File) error { return nil }

// unlockFile does nothing here.
func unlockFile(*os.File) error { return nil }
