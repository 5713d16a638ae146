package store

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// adviseReclaim is MADV_PAGEOUT (Linux 5.4): give the pages back. Whatever it
// is applied to, no content changes; the pages are read again when needed.
const adviseReclaim = 21

// trim gives back the memory that Badger's mapped files hold. Badger never
// does so, and what it once wrote would count as resident for ever.
func trim(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer func() { _ = maps.Close() }() // only read
	var errs []error
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		start, end, ok := mapping(lines.Text(), dir+"/")
		if !ok {
			continue
		}
		_, _, no := syscall.Syscall(syscall.SYS_MADVISE, start, end-start, adviseReclaim)
		// An older kernel doesn't know the advice, and a file may have been
		// unmapped since.
		if no != 0 && no != syscall.EINVAL && no != syscall.ENOMEM {
			errs = append(errs, no)
		}
	}
	return errors.Join(append(errs, lines.Err())...)
}

// mapping reads a line of /proc/self/maps, if it is of a shared mapping of a
// file below prefix.
func mapping(line, prefix string) (start, end uintptr, ok bool) {
	i := strings.Index(line, " /")
	if i < 0 || !strings.HasPrefix(line[i+1:], prefix) {
		return 0, 0, false
	}
	var mode string
	if _, err := fmt.Sscanf(line, "%x-%x %s", &start, &end, &mode); err != nil {
		return 0, 0, false
	}
	return start, end, strings.HasSuffix(mode, "s") && start < end
}
