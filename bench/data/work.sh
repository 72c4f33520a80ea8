# Loops, words, patterns, functions, and processes.
fields() {
	IFS=:
	for f in $1; do
		case $f in
		*[!0-9]*) words=$((words + 1)) ;;
		*) sum=$((sum + f)) ;;
		esac
	done
	unset IFS
}
i=0 sum=0 words=0 text=
while [ $i -lt 3000 ]; do
	fields "a$i:$i:$((i * 7 % 13)):b"
	text=${text%????????????????}${i##*[02468]}x
	i=$((i + 1))
done
i=0
while [ $i -lt 20 ]; do
	got=$(echo "$i" | while read -r line; do echo "$((line * 2))"; done)
	sum=$((sum + got))
	i=$((i + 1))
done
echo "$sum $words ${#text}"
