package chainclient

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/p2p"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	rpctypes "github.com/cometbft/cometbft/rpc/jsonrpc/types"
	cmttypes "github.com/cometbft/cometbft/types"
)

// fakeChain answers the RPC in memory, so that tests can fake time.
type fakeChain struct {
	mu       sync.Mutex
	id       string
	salt     string // of block hashes: another salt is another chain
	blocks   []fakeBlock
	earliest int64
	state    int64 // height of the app's state; 0 = the last block
	down     bool
	mempool  [][]byte
	checkTx  func(tx []byte) (*coretypes.ResultBroadcastTx, error)
	query    func(path string, data []byte) (code uint32, log string, value []byte)
	calls    map[string]int
	times    []time.Time // of calls to status
}

type fakeBlock struct {
	time    time.Time
	txs     [][]byte
	results []*abci.ExecTxResult
}

func newFake() *fakeChain {
	return &fakeChain{id: testConfig.ChainID, earliest: 1, calls: map[string]int{}}
}

// grow adds empty blocks, one a second of chain time.
func (f *fakeChain) grow(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.blocks = append(f.blocks, fakeBlock{time: chainTime.Add(time.Duration(len(f.blocks)) * time.Second)})
	}
}

// add adds a block with one transaction.
func (f *fakeChain) add(tx []byte, code uint32) {
	f.grow(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	b := &f.blocks[len(f.blocks)-1]
	b.txs, b.results = [][]byte{tx}, []*abci.ExecTxResult{{Code: code, Log: "why not"}}
}

func (f *fakeChain) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// RoundTrip serves one JSON-RPC call.
func (f *fakeChain) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var req struct {
		ID     rpctypes.JSONRPCIntID      `json:"id"`
		Method string                     `json:"method"`
		Params map[string]json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(raw, &req); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[req.Method]++
	if req.Method == "status" {
		f.times = append(f.times, time.Now())
	}
	if f.down {
		return nil, errors.New("connection refused")
	}
	var answer rpctypes.RPCResponse
	if result, err := f.serve(req.Method, req.Params); err != nil {
		answer = rpctypes.RPCInternalError(req.ID, err)
	} else {
		answer = rpctypes.NewRPCSuccessResponse(req.ID, result)
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

func (f *fakeChain) serve(method string, params map[string]json.RawMessage) (any, error) {
	number := func(name string) int64 {
		var s string
		_ = json.Unmarshal(params[name], &s)
		n, _ := strconv.ParseInt(s, 10, 64)
		return n
	}
	var data []byte
	switch method {
	case "status":
		return f.status(), nil
	case "abci_info":
		state := f.state
		if state == 0 {
			state = int64(len(f.blocks))
		}
		return &coretypes.ResultABCIInfo{Response: abci.ResponseInfo{LastBlockHeight: state}}, nil
	case "block":
		return f.block(number("height"))
	case "block_results":
		return &coretypes.ResultBlockResults{Height: number("height"), TxsResults: f.blocks[number("height")-1].results}, nil
	case "blockchain":
		return f.metas(number("minHeight"), number("maxHeight")), nil
	case "unconfirmed_txs":
		res := &coretypes.ResultUnconfirmedTxs{}
		for _, tx := range f.mempool {
			res.Txs = append(res.Txs, tx)
		}
		return res, nil
	case "broadcast_tx_sync":
		if err := json.Unmarshal(params["tx"], &data); err != nil {
			return nil, err
		}
		return f.checkTx(data)
	case "abci_query":
		return f.abciQuery(params)
	}
	return nil, errors.New("transaction indexing is disabled")
}

func (f *fakeChain) status() *coretypes.ResultStatus {
	st := &coretypes.ResultStatus{NodeInfo: p2p.DefaultNodeInfo{Network: f.id}}
	st.SyncInfo.EarliestBlockHeight, st.SyncInfo.LatestBlockHeight = f.earliest, int64(len(f.blocks))
	if n := len(f.blocks); n > 0 {
		st.SyncInfo.LatestBlockTime = f.blocks[n-1].time
	}
	return st
}

func (f *fakeChain) hash(height int64) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", f.salt, height))
	return sum[:]
}

func (f *fakeChain) header(height int64) cmttypes.Header {
	return cmttypes.Header{
		ChainID: f.id, Height: height, Time: f.blocks[height-1].time, LastBlockID: cmttypes.BlockID{Hash: f.hash(height - 1)},
	}
}

func (f *fakeChain) block(height int64) (any, error) {
	if height < f.earliest || height > int64(len(f.blocks)) {
		return nil, fmt.Errorf("height %d is not available", height)
	}
	b := &cmttypes.Block{Header: f.header(height)}
	for _, tx := range f.blocks[height-1].txs {
		b.Txs = append(b.Txs, tx)
	}
	return &coretypes.ResultBlock{BlockID: cmttypes.BlockID{Hash: f.hash(height)}, Block: b}, nil
}

func (f *fakeChain) metas(low, high int64) *coretypes.ResultBlockchainInfo {
	res := &coretypes.ResultBlockchainInfo{LastHeight: int64(len(f.blocks))}
	for h := high; h >= low; h-- {
		res.BlockMetas = append(res.BlockMetas, &cmttypes.BlockMeta{Header: f.header(h), NumTxs: len(f.blocks[h-1].txs)})
	}
	return res
}

func (f *fakeChain) abciQuery(params map[string]json.RawMessage) (any, error) {
	var path string
	var data hexBytes
	if err := errors.Join(json.Unmarshal(params["path"], &path), json.Unmarshal(params["data"], &data)); err != nil {
		return nil, err
	}
	code, log, value := f.query(path, data)
	return &coretypes.ResultABCIQuery{Response: abci.ResponseQuery{Code: code, Codespace: "sdk", Log: log, Value: value}}, nil
}

func fakeClient(t testing.TB, f *fakeChain) *Client {
	t.Helper()
	return clientOver(t, newSigner("a"), nil, f)
}
