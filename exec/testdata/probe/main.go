// Command probe is a contract that does, in each function, one thing that the
// engine must keep deterministic or within a limit. It serves tests and never
// anybody else.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/affiliate-node/affiliate/contract"
)

var started = time.Now()

var probe = contract.Serve(contract.Contract{
	Manifest: contract.Manifest{
		ABI: contract.ABI, Name: "probe", Version: "1",
		Roles:               []contract.RoleSpec{{Role: "OWNER"}},
		ScopeSpecifications: []contract.ScopeSpecification{{ID: "61737365-0000-4000-8000-000000000009", Name: "probe", Roles: []string{"OWNER"}}},
		Limits:              contract.Limits{Memory: 32 << 20, Output: 1 << 16},
		Inputs: []contract.ValueSpec{
			{Name: "do", Type: "do"},
			{Name: "hidden", Type: "hidden", MediaType: "application/octet-stream", Optional: true},
		},
		Functions: []contract.Function{
			{Name: "first", Role: "OWNER", Inputs: []string{"do"}, Record: contract.RecordSpec{Name: "first", Type: "t"}},
			{Name: "second", Role: "OWNER", Inputs: []string{"hidden"}, Record: contract.RecordSpec{Name: "second", Type: "t"}},
		},
	},
	Functions: map[string]contract.Handler{"first": first, "second": second},
})

func main() {}

var counter int

// second shows that nothing is left of the first function, nor its input.
func second(c *contract.Call) (any, error) {
	return map[string]any{"counter": counter, "sees": c.Input("do").Exists(), "hidden": c.Input("hidden").Exists()}, nil
}

func first(c *contract.Call) (any, error) {
	counter++
	var do string
	if err := c.Input("do").JSON(&do); err != nil {
		return nil, err
	}
	switch do {
	case "everything":
		return everything(c), nil
	case "loop":
		for i := 0; ; i++ {
			counter += i
		}
	case "sleep":
		time.Sleep(time.Hour)
		return map[string]any{"slept": time.Since(started) > time.Hour}, nil
	case "deadlock":
		select {}
	case "memory":
		var all [][]byte
		for {
			all = append(all, make([]byte, 4<<20))
			all[len(all)-1][0] = 1
		}
	case "recursion":
		return recurse(1), nil
	case "panic":
		panic("on purpose")
	case "exit":
		os.Exit(3)
	case "log":
		for i := range 10_000 {
			c.Logf("line %d \x1b[31m", i)
		}
		return "logged", nil
	case "stderr":
		fmt.Fprint(os.Stderr, strings.Repeat("x", 1<<20))
		return "logged", nil
	case "big":
		return strings.Repeat("x", 100_000), nil
	case "float":
		return map[string]any{"f": 1e300}, nil
	case "code":
		return nil, contract.Fail("not a code", "why\n\x1b[2J")
	case "error":
		return nil, fmt.Errorf("plain")
	case "file":
		_, err := os.ReadFile("/etc/passwd")
		return fmt.Sprint(err), nil
	}
	return do, nil
}

func recurse(n int) int {
	if n == 0 {
		return 0
	}
	return recurse(n+1) + 1
}

// everything gathers what differs from run to run in other places.
func everything(c *contract.Call) any {
	m := make(map[int]int)
	for i := range 100 {
		m[i] = i
	}
	var order []int
	for k := range m {
		order = append(order, k)
	}
	random := make([]byte, 16)
	_, _ = rand.Read(random)
	results := make(chan int, 10)
	for i := range 10 {
		go func() { results <- i }()
	}
	var arrived []int
	for range 10 {
		arrived = append(arrived, <-results)
	}
	runtime.GC()
	host, _ := os.Hostname()
	return map[string]any{
		"order": order, "random": hex.EncodeToString(random), "math": mathrand.Int64N(1 << 50), "arrived": arrived,
		"now": time.Now().UTC().Format(time.RFC3339Nano), "time": c.Time().Format(time.RFC3339Nano), "started": started.UTC().Format(time.RFC3339Nano),
		"environ": os.Environ(), "args": os.Args, "host": host, "pid": os.Getpid(),
	}
}
