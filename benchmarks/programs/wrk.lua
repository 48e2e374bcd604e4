-- The browser's requests, for wrk; at the end one line: requests, microseconds, the 99th percentile's microseconds, errors.
local number = 0

request = function()
  number = number + 1
  local id = string.format("%032x", number)
  return wrk.format("GET", "/orders/" .. number, {
    ["Host"] = "127.0.0.1:8000",
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0",
    ["X-Highlight-Request"] = string.format("abcdefghijklmnopqrstuvwxyz%02d/%s", number % 97, id),
    ["traceparent"] = string.format("00-%s-%016x-01", id, number),
  })
end

done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print("RESULT", summary.requests, summary.duration, latency:percentile(99), failed)
end
