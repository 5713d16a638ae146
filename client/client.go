// Package client owns the way from an application to its own affiliate's
// node, over the node's Unix socket. It never reaches another affiliate and
// keeps nothing on disk.
//
// A Client has the services of the API as fields, and a few helpers for
// what takes more than one call. Every error from the node is an
// *agreement.Error with the code that the node gave.
package client

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/api/affiliate/v1/affiliatev1connect"
)

const (
	// MaxMessage is the largest single answer that is read from the node, in
	// bytes: a record with its content. Objects come in smaller pieces.
	MaxMessage = 96 << 20
	// dialTimeout is how long a connection to the socket may take; the node
	// is on the same machine.
	dialTimeout = 3 * time.Second
	// idleConnections are kept for the next calls, so that many callers in
	// one program don't dial for each call.
	idleConnections = 32
	idleTimeout     = 90 * time.Second
	// baseURL is a name that HTTP wants; the socket decides where it goes.
	baseURL = "http://affiliate"
	// maxSocketPath is what Linux takes, in bytes; macOS has 103.
	maxSocketPath = 107
)

// Codes of errors that arise on the way to the node, beside those of the node
// itself.
const (
	// CodeNoDaemon: nothing serves the socket, or the connection broke.
	CodeNoDaemon agreement.Code = "NO_DAEMON"
	// CodeTimeout: the node didn't answer before the caller's deadline.
	CodeTimeout agreement.Code = "TIMEOUT"
	// CodeCanceled: the caller gave up.
	CodeCanceled agreement.Code = "CANCELED"
)

// Client talks to one node. It is safe for concurrent use.
type Client struct {
	Node       affiliatev1connect.NodeServiceClient
	Contracts  affiliatev1connect.ContractServiceClient
	Agreements affiliatev1connect.AgreementServiceClient
	Records    affiliatev1connect.RecordServiceClient
	Objects    affiliatev1connect.ObjectServiceClient
	Store      affiliatev1connect.StoreServiceClient
	Keys       affiliatev1connect.KeyServiceClient

	http   *http.Client
	socket string
}

// Dial makes a client of the node that serves this Unix socket. It fails with
// CodeNoDaemon when nobody does.
func Dial(socket string) (*Client, error) {
	probe, err := net.DialTimeout("unix", socket, dialTimeout)
	if err != nil {
		return nil, noDaemon(socket, err)
	}
	if err := probe.Close(); err != nil {
		return nil, noDaemon(socket, err)
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: idleConnections,
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true, // memory to memory: compressing only costs
	}
	h := &http.Client{Transport: transport}
	options := connect.WithClientOptions(
		connect.WithInterceptors(translator{socket: socket}),
		connect.WithReadMaxBytes(MaxMessage),
		connect.WithAcceptCompression("gzip", nil, nil),
	)
	return &Client{
		Node:       affiliatev1connect.NewNodeServiceClient(h, baseURL, options),
		Contracts:  affiliatev1connect.NewContractServiceClient(h, baseURL, options),
		Agreements: affiliatev1connect.NewAgreementServiceClient(h, baseURL, options),
		Records:    affiliatev1connect.NewRecordServiceClient(h, baseURL, options),
		Objects:    affiliatev1connect.NewObjectServiceClient(h, baseURL, options),
		Store:      affiliatev1connect.NewStoreServiceClient(h, baseURL, options),
		Keys:       affiliatev1connect.NewKeyServiceClient(h, baseURL, options),
		http:       h,
		socket:     socket,
	}, nil
}

// Close drops idle connections. Calls under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Socket is the path that the client was made for.
func (c *Client) Socket() string { return c.socket }

func noDaemon(socket string, err error) *agreement.Error {
	const start = "start the node with: affiliate start"
	switch {
	case len(socket) > maxSocketPath:
		return agreement.Errorf(CodeNoDaemon, "the path of a socket has at most %d bytes, this one has %d: %s", maxSocketPath, len(socket), socket).
			WithHint("name it by a shorter path, such as one relative to the working directory")
	case errors.Is(err, fs.ErrNotExist):
		return agreement.Errorf(CodeNoDaemon, "no node is running here: there is no socket at %s", socket).
			WithHint("%s; or name its socket with --socket", start)
	case errors.Is(err, syscall.ECONNREFUSED):
		return agreement.Errorf(CodeNoDaemon, "no node is running here: nobody serves the socket %s", socket).
			WithHint("%s; it replaces the socket that an earlier run left", start)
	case errors.Is(err, fs.ErrPermission):
		return agreement.Errorf(CodeNoDaemon, "this user may not connect to the node's socket %s", socket).
			WithHint("run the command as the user that runs the node")
	}
	return agreement.Errorf(CodeNoDaemon, "connecting to the node's socket %s: %w", socket, err).
		WithHint("check the path of the socket; %s", start)
}
