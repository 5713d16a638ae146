package store

import (
	"context"

	"github.com/affiliate-node/affiliate/agreement"
	"github.com/affiliate-node/affiliate/store/blob"
)

// DraftUnderWay is NewDraft for work that has been taken in: it doesn't ask
// whether there is room for more, so that what is under way completes.
func (s *Store) DraftUnderWay(ctx context.Context) *Draft {
	return &Draft{s, blob.NewSink(ctx, s.home, smallPayload, s.maxObject)}
}

// ObjectsAfter lists objects in the order of their ids, damaged ones too, at
// most MaxPage; the zero hash begins.
func (s *Store) ObjectsAfter(id agreement.Hash) ([]Object, error) {
	return s.objectsFrom(append(objectKey(id), 0))
}

// CountObjects counts the objects, damaged ones too.
func (s *Store) CountObjects() (int64, error) { return s.countKeys(prefixObject) }
