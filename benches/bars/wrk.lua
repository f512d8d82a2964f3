-- Sends the requests that the file $REQUESTS holds, one a line (method, target, body), over and over, and tells the
-- outcome as numbers on one line. Answers are not looked at here, which would cost more than making them: the status
-- of each is counted by wrk itself, and their content is held against the exact number of bytes.

local list = {}
for line in io.lines(os.getenv("REQUESTS")) do
  local method, target, body = line:match("^(%S+) (%S+) ?(.*)$")
  list[#list + 1] = { method, target, body ~= "" and body or nil }
end

wrk.headers["Content-Type"] = list[1][3] and "application/json" or nil

if #list == 1 then
  wrk.method, wrk.path, wrk.body = list[1][1], list[1][2], list[1][3]
else
  local ready, at = {}, 0
  function init()
    for i, request in ipairs(list) do
      ready[i] = wrk.format(request[1], request[2], nil, request[3])
    end
  end
  function request()
    at = at % #ready + 1
    return ready[at]
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "OUTCOME %d %d %d %d %d\n",
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(99)))
end
