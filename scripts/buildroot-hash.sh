#!/bin/sh
# The last step of `make release`: the hashes that Buildroot compares with (board/package/zeroforce-agent), of what has
# just been made in dist/. They are committed with a release; on a server, the archive must be this one.
set -eu
cd "$(dirname "$0")/.."
archive=dist/zeroforce-agent-$(node -p 'require("./package.json").version').tar.gz
legal=tunnel-agent.cjs.LEGAL.txt
hash() { sha256sum | cut -d ' ' -f 1; }
cat >board/package/zeroforce-agent/zeroforce-agent.hash <<END
# Written by make release
sha256  $(hash <"$archive")  $(basename "$archive")
sha256  $(tar -xzOf "$archive" "$(basename "$archive" .tar.gz)/$legal" | hash)  $legal
END
