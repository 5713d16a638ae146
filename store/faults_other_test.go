//go:build !linux

package store

import "errors"

const faultDir = "AFFILIATE_STORE_FAULT_DIR"

func meetFault(string) error { return errors.New("not here") }
