package chainclient

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdk "github.com/cosmos/cosmos-sdk/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"

	"github.com/affiliate-node/affiliate/agreement"
)

// signatureSize is the length of r||s.
const signatureSize = 64

// Cosignature is one party's signature on a transaction body.
type Cosignature struct {
	Address               string
	AccountKey, Signature []byte
}

// Cosign signs a body in SIGN_MODE_DIRECT_AUX with the own key. It does not
// look into the body: CheckBody comes first.
func (c *Client) Cosign(ctx context.Context, body []byte) ([]byte, error) {
	doc, err := c.auxDoc(ctx, body, c.signer.Address(), c.signer.AccountKey())
	if err != nil {
		return nil, err
	}
	return c.sign(doc, "co-signing a transaction body")
}

// VerifyCosignature checks one party's signature on a body, which needs the
// number of its account. BAD_SIGNATURE when it isn't one.
func (c *Client) VerifyCosignature(ctx context.Context, body []byte, address string, accountKey, sig []byte) error {
	if err := checkKey(c.cfg.Prefix, address, accountKey); err != nil {
		return agreement.Errorf(agreement.CodeBadSignature, "co-signature: %w", err)
	}
	doc, err := c.auxDoc(ctx, body, address, accountKey)
	if err != nil {
		return err
	}
	// VerifySignature refuses every form but r||s with low S.
	if len(sig) != signatureSize || !(&secp256k1.PubKey{Key: accountKey}).VerifySignature(doc, sig) {
		return agreement.Errorf(agreement.CodeBadSignature, "the co-signature of %s does not fit the transaction body", address).
			WithHint("is its node on chain %s, and does it know the chain after it was made anew?", c.cfg.ChainID)
	}
	return nil
}

// auxDoc is what a co-signer signs: the body, its own key, the chain and its
// own account number. Fee, gas and the others' keys are not in it.
func (c *Client) auxDoc(ctx context.Context, body []byte, address string, accountKey []byte) ([]byte, error) {
	if len(body) > MaxBody {
		return nil, agreement.Errorf(agreement.CodeTooLarge, "a transaction body of %d bytes is over the limit of %d", len(body), MaxBody)
	}
	number, err := c.AccountNumber(ctx, address)
	if err != nil {
		return nil, err
	}
	key, err := packKey(accountKey)
	if err != nil {
		return nil, err
	}
	doc := txtypes.SignDocDirectAux{BodyBytes: body, PublicKey: key, ChainId: c.cfg.ChainID, AccountNumber: number}
	raw, err := doc.Marshal()
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "encoding what a co-signer signs: %w", err)
	}
	return raw, nil
}

func packKey(accountKey []byte) (*codectypes.Any, error) {
	return pack(&secp256k1.PubKey{Key: accountKey})
}

func (c *Client) sign(doc []byte, what string) ([]byte, error) {
	sig, err := c.signer.Sign(doc)
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "%s: %w", what, err)
	}
	if len(sig) != signatureSize {
		return nil, agreement.Errorf(agreement.CodeInternal, "%s: the signature has %d bytes", what, len(sig))
	}
	return sig, nil
}

// Assemble puts the co-signatures together with the own signature, which
// binds the fee, and returns the transaction's bytes and its hash in
// upper-case hexadecimal. signers are those of the body's messages, the own
// address first. A missing or wrong co-signature is refused with its name.
func (c *Client) Assemble(ctx context.Context, body []byte, signers []string, cosigs []Cosignature) ([]byte, string, error) {
	if len(signers) == 0 || signers[0] != c.signer.Address() {
		return nil, "", agreement.Errorf(agreement.CodeInternal, "assembling a transaction: the proposer must be its first signer")
	}
	byAddress, err := c.checkCosignatures(ctx, body, signers[1:], cosigs)
	if err != nil {
		return nil, "", err
	}
	tx := unsigned{body: body, mode: signing.SignMode_SIGN_MODE_DIRECT_AUX, keys: [][]byte{c.signer.AccountKey()}, sigs: [][]byte{nil}}
	for _, s := range signers[1:] {
		tx.keys = append(tx.keys, byAddress[s].AccountKey)
		tx.sigs = append(tx.sigs, byAddress[s].Signature)
	}
	number, err := c.AccountNumber(ctx, c.signer.Address())
	if err != nil {
		return nil, "", err
	}
	fee, err := c.fee(ctx, tx)
	if err != nil {
		return nil, "", err
	}
	raw, err := c.finish(tx, number, fee)
	if err != nil {
		return nil, "", err
	}
	return raw, TxHash(raw), nil
}

// checkCosignatures verifies that there is one of each signer, and no other.
func (c *Client) checkCosignatures(ctx context.Context, body []byte, signers []string, cosigs []Cosignature) (map[string]Cosignature, error) {
	byAddress := make(map[string]Cosignature, len(cosigs))
	for _, s := range cosigs {
		if _, twice := byAddress[s.Address]; twice || !slices.Contains(signers, s.Address) {
			return nil, agreement.Errorf(agreement.CodeBadSignature, "there is a co-signature of %.100q too many", s.Address)
		}
		if err := c.VerifyCosignature(ctx, body, s.Address, s.AccountKey, s.Signature); err != nil {
			return nil, err
		}
		byAddress[s.Address] = s
	}
	for _, s := range signers {
		if _, ok := byAddress[s]; !ok {
			return nil, agreement.Errorf(agreement.CodeBadSignature, "the co-signature of %s is missing", s).
				WithHint("wait for it, or ask that affiliate again")
		}
	}
	return byAddress, nil
}

// unsigned is a transaction that lacks the fee and the own signature, which
// stands first.
type unsigned struct {
	body       []byte
	mode       signing.SignMode // of all but the first
	keys, sigs [][]byte         // in the order of the messages' signers
	sequence   uint64           // of the first; 0 when unordered
}

// finish signs the whole in SIGN_MODE_DIRECT.
func (c *Client) finish(tx unsigned, number uint64, fee txtypes.Fee) ([]byte, error) {
	auth, err := tx.authInfo(fee)
	if err != nil {
		return nil, err
	}
	doc := txtypes.SignDoc{BodyBytes: tx.body, AuthInfoBytes: auth, ChainId: c.cfg.ChainID, AccountNumber: number}
	raw, err := doc.Marshal()
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "encoding what the proposer signs: %w", err)
	}
	sig, err := c.sign(raw, "signing a transaction")
	if err != nil {
		return nil, err
	}
	return tx.raw(auth, sig)
}

// raw puts the parts next to one another; the body's bytes stay as they are.
func (tx unsigned) raw(auth, own []byte) ([]byte, error) {
	sigs := append([][]byte{own}, tx.sigs[1:]...)
	whole := txtypes.TxRaw{BodyBytes: tx.body, AuthInfoBytes: auth, Signatures: sigs}
	raw, err := whole.Marshal()
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "encoding a transaction: %w", err)
	}
	return raw, nil
}

// authInfo carries every signer's key, because a node that finds none panics
// although the format calls the field optional.
func (tx unsigned) authInfo(fee txtypes.Fee) ([]byte, error) {
	info := txtypes.AuthInfo{Fee: &fee}
	for i, k := range tx.keys {
		key, err := packKey(k)
		if err != nil {
			return nil, err
		}
		si := &txtypes.SignerInfo{PublicKey: key, ModeInfo: singleMode(tx.mode)}
		if i == 0 {
			si.ModeInfo, si.Sequence = singleMode(signing.SignMode_SIGN_MODE_DIRECT), tx.sequence
		}
		info.SignerInfos = append(info.SignerInfos, si)
	}
	raw, err := info.Marshal()
	if err != nil {
		return nil, agreement.Errorf(agreement.CodeInternal, "encoding a transaction's fee and signers: %w", err)
	}
	return raw, nil
}

func singleMode(m signing.SignMode) *txtypes.ModeInfo {
	return &txtypes.ModeInfo{Sum: &txtypes.ModeInfo_Single_{Single: &txtypes.ModeInfo_Single{Mode: m}}}
}

// TxHash is a transaction's hash as the chain shows it.
func TxHash(tx []byte) string {
	sum := sha256.Sum256(tx)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func parseFee(s string) (sdk.Coins, error) {
	coin, err := sdk.ParseCoinNormalized(s)
	if err != nil {
		return nil, fmt.Errorf("fee %.50q: %w", s, err)
	}
	return sdk.NewCoins(coin), nil
}
