//go:build !linux

package blob

import "io/fs"

// onDisk returns the length of a file.
func onDisk(info fs.FileInfo) int64 { return info.Size() }
