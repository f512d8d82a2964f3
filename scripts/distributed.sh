# `scripts/serve --distributed`: two nodes of Anteroom on a Redis and a DynamoDB Local, all on this machine and in memory.
# Sourced by scripts/serve, never run; lib.sh comes before it.

# The first port to try.
readonly NODE_PORT=8080 SHOP_PORT=8090 REDIS_PORT=6379 DYNAMODB_PORT=8000

# Every started process, by name: the nodes, and their servers.
declare -A nodes=() servers=()

# launch COMMAND…: in the background as $launched, in a process group of its own, so that Ctrl-C reaches the script
# alone, and the nodes end before their servers.
launch() {
    set -o monitor
    "$@" &
    launched=$!
    set +o monitor
}

# end PROCESS…: all at once, and waits for them.
end() {
    local process
    for process in "$@"; do
        kill -TERM "$process" 2>/dev/null || true
        # A paused process would not get the signal.
        kill -CONT "$process" 2>/dev/null || true
    done
    for process in "$@"; do
        wait "$process" 2>/dev/null || true
    done
}

end_all() {
    # A second Ctrl-C skips the wait.
    trap 'kill -KILL "${nodes[@]}" "${servers[@]}" 2>/dev/null || true' INT TERM HUP
    end "${nodes[@]}"
    end "${servers[@]}"
    rm -rf "$place"
}

listens() {
    (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# free_port FIRST: the first free port from there on.
free_port() {
    local port=$1
    while listens "$port"; do
        port=$((port + 1))
    done
    printf '%s' "$port"
}

# await NAME PROCESS COMMAND…: until the command succeeds; fails when the process has ended.
await() {
    local name=$1 process=$2
    shift 2
    until "$@"; do
        kill -0 "$process" 2>/dev/null || die "$name does not start."
        sleep 0.1
    done
}

start_servers() {
    local redis dynamodb
    redis=$(free_port "$REDIS_PORT")
    launch redis-server --bind 127.0.0.1 --port "$redis" --save '' --appendonly no --dir "$place" \
        >/dev/null </dev/null
    servers[Redis]=$launched
    await Redis "${servers[Redis]}" listens "$redis"
    dynamodb=$(free_port "$DYNAMODB_PORT")
    launch java -Xmx512m -XX:-UsePerfData "-Djava.io.tmpdir=$place" -classpath "$(target_directory)/dynamodb-local/*" \
        software.amazon.dynamodb.services.local.main.ServerRunner \
        -inMemory -sharedDb -disableTelemetry -port "$dynamodb" >/dev/null 2>&1 </dev/null
    servers[DynamoDB]=$launched
    await "DynamoDB Local" "${servers[DynamoDB]}" listens "$dynamodb"
    redis_url=redis://127.0.0.1:$redis
    dynamodb_endpoint=http://127.0.0.1:$dynamodb
    # DynamoDB Local accepts any credentials.
    export AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
}

fresh_secret() {
    od --address-radix=n --format=x1 --read-bytes=32 /dev/urandom | tr --delete ' \n'
}

# One file for both nodes, as on two machines; values that differ per node are variables.
write_configuration() {
    # For their owner alone, as `anteroom check-config` asks.
    umask 077
    fresh_secret >"$place/admin-key"
    fresh_secret >"$place/client-secret"
    cat >"$place/anteroom.toml" <<END
public_url = "http://127.0.0.1:$1"

[admin]
keys = [{ name = "operator", key = "file:admin-key" }]

[store]
engine = "distributed"
redis_url = "$redis_url"
dynamodb_endpoint = "$dynamodb_endpoint"

[[event]]
id = "Sample"
inlet = { strategy = "periodic", increment_by = 6, every = 60 }

[[client]]
client_id = "Sample"
event = "Sample"
client_name = "Sample shop"
client_secret = "file:client-secret"
redirect_uris = ["http://127.0.0.1:$2/callback"]
post_logout_redirect_uris = ["http://127.0.0.1:$2/"]
initiate_login_uri = "http://127.0.0.1:$2/login"
END
}

# start_node NAME PORT [VARIABLE=VALUE…]
start_node() {
    local name=$1 address=127.0.0.1:$2
    shift 2
    launch env "ANTEROOM_LISTEN=$address" "$@" "$program" serve --config "$place/anteroom.toml" </dev/null \
        > >(trap '' INT && exec sed --unbuffered "s/^/$name │ /") 2>&1
    nodes[$name]=$launched
    await "$name" "${nodes[$name]}" env "ANTEROOM_LISTEN=$address" \
        "$program" healthcheck --config "$place/anteroom.toml" >/dev/null 2>&1
}

introduce() {
    local node=http://127.0.0.1:$1 other=http://127.0.0.1:$2 shop=http://127.0.0.1:$3 name
    cat <<END

Node 1:             $node  (process ${nodes[node 1]})
Node 2:             $other  (process ${nodes[node 2]})
Sample shop:        $shop  (open it and log in)
Redis:              $redis_url  (process ${servers[Redis]})
DynamoDB Local:     $dynamodb_endpoint  (process ${servers[DynamoDB]})
Configuration:      $place/anteroom.toml
Admin key:          $(<"$place/admin-key")
Join at node 1:     curl -X POST $node/api/assign_queue_num -d '{"event_id":"Sample"}'
Look at node 2:     curl '$other/api/waiting_num?event_id=Sample'

Kill a node, or stop Redis for a while: the line goes on. Ctrl-C ends everything; nothing is kept.
END
}

# serve_distributed PROGRAM: until a signal comes, or no node is left; it does not return.
serve_distributed() {
    program=$1
    place=$(mktemp -d -t anteroom-distributed.XXXXXXXX)
    trap end_all EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    start_servers
    local first second shop name ended
    first=$(free_port "$NODE_PORT")
    second=$(free_port $((first + 1)))
    shop=$(free_port "$SHOP_PORT")
    write_configuration "$first" "$shop"
    "$program" store init --config "$place/anteroom.toml" || die "The tables cannot be made."
    start_node "node 1" "$first" "ANTEROOM_DEMO__SHOP_LISTEN=127.0.0.1:$shop"
    start_node "node 2" "$second"
    introduce "$first" "$second" "$shop"
    while ((${#nodes[@]} > 0)); do
        wait -n -p ended "${nodes[@]}" 2>/dev/null || true
        for name in "${!nodes[@]}"; do
            if [[ ${nodes[$name]} == "$ended" ]]; then
                unset "nodes[$name]"
                say "$name has ended."
            fi
        done
    done
    die "No node is left."
}
