#!/bin/sh
# Runs benchmark families: agreements, exec, store, node, p2p, index (all of them
# without a name). One line a figure on standard output:
#   name value unit limit ratio goal met|short
# The limit is measured in the same run; a dash stands where there is none.
set -eu
exec "$(dirname "$0")/testnet.sh" bench "$@"
