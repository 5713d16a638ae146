// Package house owns the rules that hold for the whole tree; its test keeps
// them. It never runs as part of a program.
package house
