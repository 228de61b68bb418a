#!/bin/sh
# What `goaudit demo` shows. Recorded with:
#   sudo goaudit record --tap goaudit-user/demo/capture.tap -q -w DIR -- sh tests/demo.sh
# A program is run, one is looked for in vain, a process is traced, one is traced that must not be.
cd /tmp || exit 1
id -un >/dev/null
/usr/local/bin/no-such-program 2>/dev/null
setpriv --no-new-privs ls -l /etc/hostname >/dev/null
sleep 5 &
target=$!
trace='import ctypes, sys; ctypes.CDLL(None).ptrace(16, int(sys.argv[1]), 0, 0)'
python3 -c "$trace" "$target"
setpriv --reuid=65534 --regid=65534 --clear-groups python3 -c "$trace" 1
kill "$target"
exit 0
