-- Another path for every request: the URL's, a mark of this run, a number.
-- The request is put together by hand: wrk.format() would cost the generator more than the request itself.
local number, before, after = 0, "", ""

function init(args)
   local fields = ""
   for name, value in pairs(wrk.headers) do
      fields = fields .. name .. ": " .. value .. "\r\n"
   end
   before = "GET " .. wrk.path .. args[1]
   after = " HTTP/1.1\r\n" .. fields .. "\r\n"
end

function request()
   number = number + 1
   return before .. number .. after
end
