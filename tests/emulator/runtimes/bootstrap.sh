#!/bin/sh
# A runtime that is a shell script, as AWS's tutorial has it: the event comes by curl, and goes back inside an object.
# https://docs.aws.amazon.com/lambda/latest/dg/runtimes-walkthrough.html
set -eu

api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
work=$(mktemp -d)

while true; do
    curl -sS -D "$work/head" -o "$work/event" "$api/invocation/next"
    id=$(sed -n 's/^lambda-runtime-aws-request-id: *\([^[:space:]]*\).*/\1/Ip' "$work/head")
    echo "got $id"
    if grep -q fail "$work/event"; then
        curl -sS -o "$work/reply" -H 'Lambda-Runtime-Function-Error-Type: Shell.Failed' \
            -d '{"errorType":"Shell.Failed","errorMessage":"as you wish"}' "$api/invocation/$id/error"
    else
        { printf '{"shell":' && cat "$work/event" && printf '}'; } |
            curl -sS -o "$work/reply" --data-binary @- "$api/invocation/$id/response"
    fi
done
