package p2p

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what the network does. The label values are fixed: protocols
// and results, never peers.
type metrics struct {
	streams  *prometheus.CounterVec // protocol, result
	sends    *prometheus.CounterVec // result
	gossip   *prometheus.CounterVec // topic, result
	hellos   *prometheus.CounterVec // result
	received prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, h *Host) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "affiliate", Subsystem: "p2p", Name: name, Help: help}, labels)
	}
	m := &metrics{
		streams: counter("streams_total", "Streams served, by protocol and result.", "protocol", "result"),
		sends:   counter("sends_total", "Mail sent directly, by result.", "result"),
		gossip:  counter("gossip_total", "Gossip messages received, by topic and result.", "topic", "result"),
		hellos:  counter("hellos_total", "Introductions, by result.", "result"),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "affiliate", Subsystem: "p2p", Name: "kept_mail_received_total", Help: "Mail that a peer had kept for us.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	peers := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "affiliate", Subsystem: "p2p", Name: "peers_connected", Help: "Affiliates connected now.",
	}, func() float64 {
		if l := h.live.Load(); l != nil {
			return float64(l.sessions.countAdmitted())
		}
		return 0
	})
	var err error
	for _, c := range []prometheus.Collector{m.streams, m.sends, m.gossip, m.hellos, m.received, peers} {
		err = errors.Join(err, reg.Register(c))
	}
	return m, err
}
