-- Asks for the codes of a file, one a line, in turn; prints what was counted as one line of JSON.

local requests = {}
local at = 0

function init(args)
   for code in io.lines(args[1]) do
      requests[#requests + 1] = wrk.format("GET", "/" .. code)
   end
end

function request()
   at = at % #requests + 1
   return requests[at]
end

function done(summary, latency, _)
   local errors = summary.errors
   print(string.format(
      'JSON {"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, "errors": ' ..
      '{"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}',
      summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
