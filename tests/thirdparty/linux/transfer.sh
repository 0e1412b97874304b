# Shows: octets sent by TCP from guest to guest arrive with the same hash.
#: functions = net0 | net1
#: timeout   = 1500

megabytes=16
name=$(network)
if [ "$GUEST" = 0 ]; then
    await ready
    head -c ${megabytes}M /dev/urandom > /tmp/octets
    begin=$(seconds)
    python3 - "$(address 1)" <<'END'
import socket, sys
with socket.create_connection((sys.argv[1], 7000)) as connection, open("/tmp/octets", "rb") as file:
    connection.sendfile(file)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
END
    echo "$megabytes MiB in $(echo "$(seconds) $begin" | awk '{print $1 - $2}') s of virtual time"
    equal "hash" "$(await hash)" "$(sha256sum < /tmp/octets)"
else
    python3 - "$OUT/told.ready" <<'END' > /tmp/hash
import hashlib, socket, sys
with socket.create_server(("", 7000)) as server:
    open(sys.argv[1], "w").close()
    connection, _ = server.accept()
    total = hashlib.sha256()
    while octets := connection.recv(1 << 16):
        total.update(octets)
    print(total.hexdigest(), " -")
END
    tell hash "$(cat /tmp/hash)"
fi
