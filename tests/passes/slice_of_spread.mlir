// RUN: lamina opt %s -p 'simplify' --check-each-pass | filecheck %s
// A slice that only cuts zeros off what was spread out is less of those zeros; one that cuts into it stays.
builtin.module {
  func.func @main(%x: tensor<3xf32>) -> (tensor<6xf32>, tensor<6xf32>) {
    %0 = prim.pad %x {low = array<i64: 2>, high = array<i64: 3>, interior = array<i64: 1>, fill = 0 : i64} : (tensor<3xf32>) -> tensor<10xf32>
    %1 = prim.slice %0 {start = array<i64: 1>, size = array<i64: 6>, step = array<i64: 1>} : (tensor<10xf32>) -> tensor<6xf32>
    %3 = prim.pad %x {low = array<i64: 1>, high = array<i64: 4>, interior = array<i64: 1>, fill = 0 : i64} : (tensor<3xf32>) -> tensor<10xf32>
    %2 = prim.slice %3 {start = array<i64: 3>, size = array<i64: 6>, step = array<i64: 1>} : (tensor<10xf32>) -> tensor<6xf32>
    func.return %1, %2 : tensor<6xf32>, tensor<6xf32>
  }
}
// CHECK-DAG: prim.pad %x {low = array<i64: 1>, high = array<i64: 0>, interior = array<i64: 1>
// CHECK-DAG: prim.slice %{{.*}} {start = array<i64: 3>, size = array<i64: 6>
