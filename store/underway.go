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

// ObjectsAfter lists some objects in the order of their ids, damaged ones too;
// the zero hash begins, and none is the end. Of one whose description can't be
// read only the ID is known.
func (s *Store) ObjectsAfter(id agreement.Hash) ([]Object, error) {
	page, err := s.objectsFrom(append(objectKey(id), 0))
	if err != nil {
		return nil, err
	}
	all := make([]Object, len(page))
	for i, d := range page {
		all[i] = d.Object
	}
	return all, nil
}

// CountObjects counts the objects, damaged ones too. It reads nothing from
// disk.
func (s *Store) CountObjects() (int64, error) { return s.memory().totals.objects, nil }
