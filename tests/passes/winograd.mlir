// RUN: lamina opt %s -p 'winograd{keep=true},dce' --check-each-pass | filecheck %s
// Four results of a kernel of three elements take six products of sums: windows of six every four, and six sums of the kernel's.
builtin.module {
  func.func @main(%x: tensor<1x1x128x66xf32>, %k: tensor<1x128x128x3xf32>) -> tensor<1x1x128x64xf32> {
    %0 = prim.conv %x, %k {stride = array<i64: 1>, dilation = array<i64: 1>} : (tensor<1x1x128x66xf32>, tensor<1x128x128x3xf32>) -> tensor<1x1x128x64xf32>
    func.return %0 : tensor<1x1x128x64xf32>
  }
}
// CHECK-NOT: prim.conv
// CHECK:     %[[SPREAD:.*]] = prim.reshape {{.*}} -> tensor<1x1x1x66x128xf32>
// CHECK-DAG: prim.slice %[[SPREAD]] {start = array<i64: 0, 0, 0, 0, 0>, size = array<i64: 1, 1, 1, 16, 128>, step = array<i64: 1, 1, 1, 4, 1>}
// CHECK-DAG: prim.slice %[[SPREAD]] {start = array<i64: 0, 0, 0, 5, 0>, size = array<i64: 1, 1, 1, 16, 128>, step = array<i64: 1, 1, 1, 4, 1>}
// CHECK:     prim.matmul {{.*}} : (tensor<6x1x16x128xf32>, tensor<6x1x128x128xf32>) -> tensor<6x1x16x128xf32>
// CHECK:     prim.update {{.*}} {start = array<i64: 0, 0, 0, 0>, step = array<i64: 1, 1, 4, 1>}
// CHECK:     prim.update {{.*}} {start = array<i64: 0, 0, 3, 0>, step = array<i64: 1, 1, 4, 1>}
