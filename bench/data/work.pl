# Hashes, regular expressions, sorting, text.
my $text = join ' ', map { sprintf 'w%d,%x', $_ * 7919 % 1013, $_ * 2654435761 % 65536 } 1 .. 9000;
my (%count, $sum);
while ($text =~ /w(\d+),([0-9a-f]+)/g) {
	$count{$1}++;
	$sum += hex $2;
}
my @most = (sort { $count{$b} <=> $count{$a} || $a <=> $b } keys %count)[0 .. 9];
(my $changed = $text) =~ s/(\d)(\d)/$2$1/g;
my @parts = split /[ ,]/, $changed;
my $hits = grep { /^[a-f]+\d*$/ } @parts;
my %by_length;
push @{$by_length{length $_}}, $_ for @parts;
print "@most $sum $hits ", join(' ', map { "$_:" . @{$by_length{$_}} } sort { $a <=> $b } keys %by_length), "\n";
print scalar reverse(substr $changed, 100, 50), "\n";
