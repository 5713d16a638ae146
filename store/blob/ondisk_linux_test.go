package blob

import (
	"io/fs"
	"syscall"
)

// onDisk returns the bytes that a file takes, holes not counted.
func onDisk(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }
