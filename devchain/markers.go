package devchain

import (
	"fmt"

	sdk "github.com/cosmos/cosmos-sdk/types"
	markertypes "github.com/provenance-io/provenance/x/marker/types"
)

// noMarkers answers the metadata keeper's questions about markers on a chain
// that has none. Provenance's own marker keeper needs its fork of the SDK.
type noMarkers struct{}

// GetMarkerByDenom always fails, as upstream does for an unknown marker.
func (noMarkers) GetMarkerByDenom(_ sdk.Context, denom string) (markertypes.MarkerAccountI, error) {
	return nil, fmt.Errorf("marker %s not found: the development chain has no markers", denom)
}

// IsMarkerAccount is always false.
func (noMarkers) IsMarkerAccount(sdk.Context, sdk.AccAddress) bool { return false }
