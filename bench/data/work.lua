-- Tables, strings, closures, garbage, floating point.
local function queens(n)
	local columns, rising, falling, found = {}, {}, {}, 0
	local function place(row)
		if row > n then
			found = found + 1
			return
		end
		for c = 1, n do
			if not (columns[c] or rising[row + c] or falling[row - c + n]) then
				columns[c], rising[row + c], falling[row - c + n] = true, true, true
				place(row + 1)
				columns[c], rising[row + c], falling[row - c + n] = nil, nil, nil
			end
		end
	end
	place(1)
	return found
end

local words = {}
for i = 1, 12000 do
	local w = string.format("%x", i * 2654435761 % 4096)
	words[w] = (words[w] or 0) + 1
end
local names = {}
for w, n in pairs(words) do
	names[#names + 1] = w .. ":" .. n
end
table.sort(names)
local sum = 0.0
for i = 1, 60000 do
	sum = sum + math.sin(i) / i
end
print(queens(7), #names, #table.concat(names, ","), string.format("%.9f", sum))
print((table.concat(names, " "):gsub("%d+", function(d) return #d end)):sub(1, 40))
