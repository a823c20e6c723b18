-- Compare-and-set by version: write each record unless the key holds the same version or a newer one.
-- KEYS: link keys. ARGV[1]: how long tombstones live, in milliseconds. ARGV[i + 1]: the record for KEYS[i].
-- A record has its version as a little-endian u32 at offset 4, and the lowest bit of byte 1 set if it is a tombstone.
local written = 0
for i, key in ipairs(KEYS) do
  local record = ARGV[i + 1]
  local held = redis.call('GETRANGE', key, 4, 7)
  if #held < 4 or struct.unpack('<I4', held) < struct.unpack('<I4', record, 5) then
    if string.byte(record, 2) % 2 == 1 then
      redis.call('SET', key, record, 'PX', ARGV[1])
    else
      redis.call('SET', key, record)
    end
    written = written + 1
  end
end
return written
