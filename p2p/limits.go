package p2p

import (
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"
)

// Connections. A data centre or a container network can put all affiliates
// behind one address, so the limits of an address are generous; who stays is
// decided by membership.
const (
	connsLow        = 400 // the connection manager trims down to
	connsHigh       = 500 // when this is reached
	connsGrace      = time.Minute
	connsPerSubnet  = 64
	connRatePerIP   = 5 // new connections a second
	connBurstPerIP  = 100
	maxStrangers    = 64 // connections that have not said who they are
	streamsPerPeer  = 512
	memoryPerStream = 4 << 20
	memoryPerPeer   = 256 << 20
)

// quota bounds what one peer may ask of one protocol.
type quota struct {
	rate   float64 // streams a second, in the long run
	burst  float64 // streams at once after a rest
	active int     // streams at the same time
}

// quotas derive from use: an agreement takes about five mails a party, so
// 1000 mails a second are some 200 agreements a second with one peer; an
// agreement fetches a few objects; the others run once a connection.
func quotas() map[protocol.ID]quota {
	return map[protocol.ID]quota{
		protoHello:   {rate: 1, burst: 20, active: 4},
		protoRecords: {rate: 0.2, burst: 20, active: 2},
		protoMail:    {rate: 1000, burst: 2000, active: 2 * maxSending},
		protoObject:  {rate: 200, burst: 1000, active: 32},
		protoKept:    {rate: 1, burst: 50, active: 2},
	}
}

// meter applies a quota: a token bucket and a count.
type meter struct {
	quota quota

	mu     sync.Mutex
	used   float64   // guarded by mu; of burst
	at     time.Time // guarded by mu; when used was right
	active int       // guarded by mu
}

// enter takes a stream's place, false when the peer has to wait.
func (m *meter) enter(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used = max(0, m.used-now.Sub(m.at).Seconds()*m.quota.rate)
	m.at = now
	if m.used+1 > m.quota.burst || (m.quota.active > 0 && m.active >= m.quota.active) {
		return false
	}
	m.used++
	m.active++
	return true
}

func (m *meter) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.active--
}

// newResourceManager bounds connections, streams and memory by libp2p's
// defaults for this machine, with our own protocols and a higher limit for
// many affiliates behind one address. Loopback is exempt.
func newResourceManager(opts ...rcmgr.Option) (network.ResourceManager, error) {
	limits := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&limits)
	all := rcmgr.BaseLimit{
		Streams: 8 * streamsPerPeer, StreamsInbound: 4 * streamsPerPeer, StreamsOutbound: 8 * streamsPerPeer, Memory: 4 * memoryPerPeer,
	}
	one := rcmgr.BaseLimit{
		Streams: streamsPerPeer, StreamsInbound: streamsPerPeer / 2, StreamsOutbound: streamsPerPeer, Memory: memoryPerPeer,
	}
	for proto := range quotas() {
		limits.AddProtocolLimit(proto, all, rcmgr.BaseLimitIncrease{})
		limits.AddProtocolPeerLimit(proto, one, rcmgr.BaseLimitIncrease{})
	}
	limits.PeerBaseLimit.Streams = 2 * streamsPerPeer
	limits.PeerBaseLimit.StreamsInbound = streamsPerPeer
	limits.PeerBaseLimit.StreamsOutbound = streamsPerPeer
	limits.PeerBaseLimit.Memory = memoryPerPeer
	opts = append([]rcmgr.Option{
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerSubnet}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connsPerSubnet}},
		),
		rcmgr.WithConnRateLimiters(newConnRateLimiter()),
	}, opts...)
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.AutoScale()), opts...)
}

func newConnRateLimiter() *rate.Limiter {
	perIP := rate.Limit{RPS: connRatePerIP, Burst: connBurstPerIP}
	return &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{
			{Prefix: netip.MustParsePrefix("127.0.0.0/8")},
			{Prefix: netip.MustParsePrefix("::1/128")},
		},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: perIP}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: perIP}},
			GracePeriod:      time.Minute,
		},
	}
}
