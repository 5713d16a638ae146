package devchain

import (
	"path/filepath"

	cmtdb "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/config"
	dbm "github.com/cosmos/cosmos-db"
)

// databases says where a node keeps what it must not forget: the application's
// state, and CometBFT's blocks and consensus state.
type databases struct {
	app   func() (dbm.DB, error)
	comet config.DBProvider
}

// onDisk is goleveldb in a home's data directory.
func onDisk(home string) databases {
	return databases{
		app: func() (dbm.DB, error) {
			db, err := dbm.NewGoLevelDB("application", filepath.Join(home, "data"), nil)
			if err != nil {
				return nil, err
			}
			return emptyValues{db}, nil
		},
		comet: config.DefaultDBProvider,
	}
}

// inMemory forgets everything with the process.
func inMemory() databases {
	return databases{
		app:   func() (dbm.DB, error) { return dbm.NewMemDB(), nil },
		comet: func(*config.DBContext) (cmtdb.DB, error) { return cmtdb.NewMemDB(), nil },
	}
}

// emptyValues tells an empty value from an absent one. This version of
// goleveldb answers nil to both, while the state store marks an empty tree by
// an empty value and would find its own heights missing. (The SDK replaces
// goleveldb by an older version for the same reason.)
type emptyValues struct{ *dbm.GoLevelDB }

// Get implements dbm.DB.
func (d emptyValues) Get(key []byte) ([]byte, error) {
	value, err := d.GoLevelDB.Get(key)
	if err != nil || value != nil {
		return value, err
	}
	has, err := d.Has(key)
	if err != nil || !has {
		return nil, err
	}
	return []byte{}, nil
}

// Has implements dbm.DB.
func (d emptyValues) Has(key []byte) (bool, error) { return d.DB().Has(key, nil) }
