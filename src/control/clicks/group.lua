-- Have the group, from the first entry on: edges send before control has come, and after a shard has lost its groups.
local reply = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if reply['err'] and not string.find(reply['err'], 'BUSYGROUP') then
    return redis.error_reply(reply['err'])
end
return 1
