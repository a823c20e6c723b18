-- Compare-and-set by version: write each record unless the key holds the same version or a newer one. What is no string,
-- and what is too short to have a version, is written over.
-- KEYS: link keys. ARGV[1]: how long tombstones live, in milliseconds. ARGV[i + 1]: the record for KEYS[i].
-- ARGV[n + 2] and ARGV[n + 3] for n keys, if given: the epoch by which the writer knows where links belong, and the key of
-- the fence. Nothing is written under a fence of a later epoch: the writer slept, and the links may be elsewhere now.
-- A record has its version as a little-endian u32 at offset 4, and the lowest bit of byte 1 set if it is a tombstone.
local epoch = tonumber(ARGV[#KEYS + 2] or '')
local fence = epoch and redis.call('GET', ARGV[#KEYS + 3])
if fence and tonumber(string.match(fence, '"epoch":(%d+)') or '0') > epoch then
  return redis.error_reply('ERR the fence is of a later epoch')
end
local written = 0
for i, key in ipairs(KEYS) do
  local record = ARGV[i + 1]
  local held = redis.pcall('GETRANGE', key, 4, 7)
  if type(held) ~= 'string' or #held < 4 or struct.unpack('<I4', held) < struct.unpack('<I4', record, 5) then
    if string.byte(record, 2) % 2 == 1 then
      redis.call('SET', key, record, 'PX', ARGV[1])
    else
      redis.call('SET', key, record)
    end
    written = written + 1
  end
end
return written
