# Writes a CycloneDX document from what `cargo tree --prefix depth` prints. Reads three things, told apart by `reading`: Cargo.lock for
# digests, the crates that are linked in, and the whole tree with what runs only while building. POSIX awk.

function text(value) {
    gsub(/\\/, "\\\\", value)
    gsub(/"/, "\\\"", value)
    return "\"" value "\""
}

# The parts of a line: depth, name, version, licence.
function take(line, part) {
    sub(/ \(\*\)$/, "", line)
    depth = line + 0
    sub(/^[0-9]+ /, "", line)
    split(line, part, "|")
    licence = part[2]
    # The old way to write a choice.
    gsub(/ ?\/ ?/, " OR ", licence)
    split(part[1], part, " ")
    name = part[1]
    version = substr(part[2], 2)
    reference = address("pkg:cargo/" name "@" version)
}

# A plus in a package's address stands for a space.
function address(value) {
    gsub(/\+/, "%2B", value)
    return value
}

reading == "lock" && /^name = / { locked = $3 }
reading == "lock" && /^version = / { locked = locked "@" $3 }
reading == "lock" && /^checksum = / { gsub(/"/, "", locked); gsub(/"/, "", $3); digest[locked] = $3 }

reading == "linked" { take($0); linked[reference] = 1 }

reading == "tree" {
    take($0)
    if (!(reference in seen)) {
        seen[reference] = 1
        order[++count] = reference
        names[reference] = name
        versions[reference] = version
        licences[reference] = licence
    }
    at[depth] = reference
    edge = depth ? at[depth - 1] " " reference : ""
    if (edge != "" && !(edge in edges)) {
        edges[edge] = 1
        needs[at[depth - 1]] = needs[at[depth - 1]] (needs[at[depth - 1]] == "" ? "" : ", ") text(reference)
    }
}

function component(reference, kind) {
    printf "{\"type\": \"%s\", \"bom-ref\": %s, \"name\": %s, \"version\": %s, \"purl\": %s", kind, text(reference),
        text(names[reference]), text(versions[reference]), text(reference)
    if (reference in linked) scope = "required"
    else scope = "excluded"
    if (kind == "library") printf ", \"scope\": \"%s\"", scope
    if (licences[reference] != "") printf ", \"licenses\": [{\"expression\": %s}]", text(licences[reference])
    key = names[reference] "@" versions[reference]
    if (key in digest) printf ", \"hashes\": [{\"alg\": \"SHA-256\", \"content\": %s}]", text(digest[key])
    printf "}"
}

# `besides` has what is linked in and no crate: NAME VERSION PURL, separated by spaces and ended by semicolons.
END {
    root = order[1]
    amount = split(besides, others, ";")
    for (i = 1; i <= amount; i++) {
        if (split(others[i], part, " ") < 3) continue
        reference = address(part[3])
        order[++count] = reference
        names[reference] = part[1]
        versions[reference] = part[2]
        linked[reference] = 1
        needs[root] = needs[root] ", " text(reference)
    }
    printf "{\"bomFormat\": \"CycloneDX\", \"specVersion\": \"1.5\", \"version\": 1,\n"
    printf "\"metadata\": {\"lifecycles\": [{\"phase\": \"build\"}], \"component\": "
    component(root, "application")
    printf "},\n\"components\": [\n"
    for (i = 2; i <= count; i++) {
        component(order[i], "library")
        print i < count ? "," : ""
    }
    printf "],\n\"dependencies\": [\n"
    for (i = 1; i <= count; i++) {
        printf "{\"ref\": %s, \"dependsOn\": [%s]}%s\n", text(order[i]), needs[order[i]], i < count ? "," : ""
    }
    print "]}"
}
