# Counts the rows of the table "$1" whose age is at least "$2", into the table "$3".
set -eu
awk -v least="$2" '
    BEGIN { FS = "[\t,;]" }
    NR == 1 { for (column = 1; column <= NF; column++) if ($column == "age") age = column; next }
    $age >= least { count++ }
    END { print "least\tcount"; print least "\t" count + 0 }' "$1" > "$3"
