-- What waits in the stream: entries, bytes, entries that consumers have, and the age of the oldest in milliseconds.
-- Without this the oldest entry would be sent with all its bytes, to look at its id.
local length = redis.call('XLEN', KEYS[1])
if length == 0 then
    return {0, 0, 0, 0}
end
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1])
local held = 0
if not pending['err'] then
    held = pending[1]
end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
local now = redis.call('TIME')
local age = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(string.match(oldest, '^%d+'))
return {length, redis.call('MEMORY', 'USAGE', KEYS[1]), held, math.max(0, age)}
