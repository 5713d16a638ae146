package p2p

import "time"

const (
	defaultRecordLifetime = 24 * time.Hour
	minRecordLifetime     = time.Minute
	keepExpired           = 30 * 24 * time.Hour // how long a known record is good for its keys after it expired
)

// timings are the waits of the package, in one place so that tests can
// shorten them.
type timings struct {
	hello         time.Duration // from a connection to the end of its hello
	dial          time.Duration // one attempt to connect
	request       time.Duration // a mail or a request, from its stream to its answer
	idle          time.Duration // between two pieces of a payload
	retryFirst    time.Duration // between attempts to connect, at first
	retryMost     time.Duration // and at last
	announceSoon  time.Duration // from a change to its announcement
	announceFirst time.Duration // between announcements, at first, then doubling
	announceMost  time.Duration
	pullFirst     time.Duration // between two looks for kept mail at a peer, at first, then doubling
	pullMost      time.Duration
	renewGossip   time.Duration // how long a stream of gossip may take to tell what its peer subscribes to
	ping          time.Duration // between two measurements of latency
	refuse        time.Duration // how long a refused peer id is not accepted again
}

func defaultTimings() timings {
	return timings{
		hello: 5 * time.Second, dial: 10 * time.Second, request: 30 * time.Second, idle: 30 * time.Second,
		retryFirst: time.Second, retryMost: 5 * time.Minute,
		announceSoon: 500 * time.Millisecond, announceFirst: 2 * time.Second, announceMost: 5 * time.Minute,
		pullFirst: 3 * time.Second, pullMost: 2 * time.Minute, renewGossip: 5 * time.Second, ping: time.Minute, refuse: 5 * time.Second,
	}
}
