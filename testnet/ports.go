package testnet

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below the range that systems give to outgoing
// connections, so that one stays free while its daemon is down.
const (
	portsFrom  = 20000
	portsTo    = 32000
	portsTries = 200
)

// freePorts returns the first of n consecutive loopback ports on which nobody
// listens, TCP and UDP alike.
func freePorts(n int) (int, error) {
	for range portsTries {
		first := portsFrom + rand.IntN(portsTo-portsFrom-n) //nolint:gosec // not a secret
		if allFree(first, n) {
			return first, nil
		}
	}
	return 0, errors.New("no free loopback ports between " + strconv.Itoa(portsFrom) + " and " + strconv.Itoa(portsTo))
}

func allFree(first, n int) bool {
	for port := first; port < first+n; port++ {
		if !isFree(port) {
			return false
		}
	}
	return true
}

func isFree(port int) bool {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	defer udp.Close()
	return true
}
