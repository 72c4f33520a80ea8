# The table and the JSON of `./dev bench engine`, from lines "RUN CONTESTANT GROUP CASE VALUE UNIT DIGEST".
# Variables: runs, kernel, qemu, json (the file to write).

function median(key, i, k, n, t) {
	n = count[key]
	for (i = 2; i <= n; i++) {
		t = value[key, i]
		for (k = i - 1; k > 0 && value[key, k] > t; k--)
			value[key, k + 1] = value[key, k]
		value[key, k + 1] = t
	}
	return n == 0 ? "" : n % 2 ? value[key, (n + 1) / 2] : (value[key, n / 2] + value[key, n / 2 + 1]) / 2
}

# A time or a size with a unit that suits it.
function human(v, unit) {
	if (v == "")
		return "-"
	if (unit != "ns")
		return sprintf("%.1f MiB", v / 1024)
	if (v < 1000)
		return sprintf(v < 0.1 ? "%.3f ns" : "%.2f ns", v)
	if (v < 1e6)
		return sprintf("%.2f us", v / 1e3)
	return v < 1e9 ? sprintf("%.1f ms", v / 1e6) : sprintf("%.2f s", v / 1e9)
}

function quotient(a, b) {
	return a == "" || b == "" || b == 0 ? "" : a / b
}

function shown(q) {
	return q == "" ? "-" : sprintf(q < 100 ? "%.2f" : "%.0f", q)
}

function row(name, native, tcg, soft, a, b, c) {
	printf "  %-18s %12s %12s %12s  %11s %11s %9s\n", name, native, tcg, soft, a, b, c
}

function add(group, pair, q) {
	if (q != "") {
		logs[group, pair] += log(q)
		number[group, pair]++
	}
}

function mean(group, pair) {
	return number[group, pair] ? exp(logs[group, pair] / number[group, pair]) : ""
}

# A number in JSON.
function plain(v) {
	return v == "" ? "null" : sprintf("%.6g", v)
}

function ratios(a, b, c) {
	return sprintf("\"soft_native\": %s, \"tcg_native\": %s, \"tcg_soft\": %s", plain(a), plain(b), plain(c))
}

function speedups(name, w) {
	for (w = 1; w <= 3; w++)
		s[w] = shown(quotient(median(who[w] SUBSEP "smp" SUBSEP "work-1-thread"), \
		                      median(who[w] SUBSEP "smp" SUBSEP "work-2-threads")))
	row(name, s[1], s[2], s[3], "", "", "")
	printf ",\n  \"speed_up_of_two\": {\"native\": \"%s\", \"tcg\": \"%s\", \"soft\": \"%s\"}", s[1], s[2], s[3] >json
}

{
	key = $2 SUBSEP $3 SUBSEP $4
	value[key, ++count[key]] = $5
	unit[$3, $4] = $6
	if (!(($3, $4) in known)) {
		known[$3, $4] = 1
		if (!($3 in cases))
			groups[++group_count] = $3
		name[$3, ++cases[$3]] = $4
	}
	if ($7 !~ /^0+$/) {
		if ((($3, $4) in digest) && digest[$3, $4] != $7)
			differs[$3, $4] = 1
		digest[$3, $4] = $7
	}
}

END {
	who[1] = "native"
	who[2] = "tcg"
	who[3] = "soft"
	printf "Debian's kernel %s; %s; medians of %d runs\n", kernel, qemu, runs
	row("", "native", "tcg", "soft", "soft/native", "tcg/native", "tcg/soft")
	printf "{\n  \"kernel\": \"%s\", \"qemu\": \"%s\", \"runs\": %d,\n  \"groups\": {", kernel, qemu, runs >json
	for (g = 1; g <= group_count; g++) {
		group = groups[g]
		print group
		printf "%s\n    \"%s\": {\n      \"cases\": {", (g == 1 ? "" : ","), group >json
		for (i = 1; i <= cases[group]; i++) {
			c = name[group, i]
			u = unit[group, c]
			for (w = 1; w <= 3; w++)
				m[w] = median(who[w] SUBSEP group SUBSEP c)
			a = quotient(m[3], m[1])
			b = quotient(m[2], m[1])
			d = quotient(m[2], m[3])
			add(group, 1, a)
			add(group, 2, b)
			add(group, 3, d)
			row(c, human(m[1], u), human(m[2], u), human(m[3], u), shown(a), shown(b), shown(d))
			printf "%s\n        \"%s\": {\"unit\": \"%s\", \"native\": %s, \"tcg\": %s, \"soft\": %s, %s}", (i == 1 ? "" : ","),
				c, u, plain(m[1]), plain(m[2]), plain(m[3]), ratios(a, b, d) >json
		}
		printf "\n      }" >json
		if (group != "boot" && group != "smp") {
			a = mean(group, 1)
			b = mean(group, 2)
			d = mean(group, 3)
			row("geometric mean", "", "", "", shown(a), shown(b), shown(d))
			printf ",\n      \"geometric_mean\": {%s}", ratios(a, b, d) >json
		}
		printf "\n    }" >json
	}
	printf "\n  }" >json
	if ("smp" in cases)
		speedups("speed-up of two")
	print "\n}" >json
	for (k in differs) {
		split(k, part, SUBSEP)
		printf "results differ: %s %s\n", part[1], part[2]
	}
}
