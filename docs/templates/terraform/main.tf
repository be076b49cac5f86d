# lambda-ric build --handler app.handler --python 3.13 --arch arm64
# terraform init && terraform apply
#
# The zip is taken as it was built. `archive_file` makes another one: with its output_file_mode = "0644" no file is
# executable, and `bootstrap` does not start. Who has to use it takes the runtime from a layer instead, which
# `lambda-ric build --target layer` makes, with AWS_LAMBDA_EXEC_WRAPPER = "/opt/bootstrap".

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
  }
}

resource "aws_lambda_function" "function" {
  function_name    = "answers-first"
  filename         = "dist/function.zip"
  source_code_hash = filebase64sha256("dist/function.zip") # the same code is the same hash: nothing is deployed twice
  handler          = "app.handler"
  runtime          = "python3.13"
  architectures    = ["arm64"]
  role             = aws_iam_role.function.arn
  memory_size      = 512
  timeout          = 30 # background work has to end before it; Lambda's default is 3

  environment {
    variables = {
      AWS_LAMBDA_EXEC_WRAPPER = "/var/task/bootstrap"
    }
  }
}

resource "aws_lambda_function_url" "function" {
  function_name      = aws_lambda_function.function.function_name
  authorization_type = "AWS_IAM"
  invoke_mode        = "BUFFERED" # RESPONSE_STREAM for handlers that stream
}

resource "aws_iam_role" "function" {
  name = "answers-first"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "logs" {
  role       = aws_iam_role.function.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

output "url" {
  value = aws_lambda_function_url.function.function_url
}
